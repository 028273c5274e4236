# make alone lists what there is. Everything is made in .venv; nothing else on the machine changes.

.DEFAULT_GOAL := help
.PHONY: help run test check bench stress clean

VENV := .venv
PY := $(VENV)/bin/python
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
DURATION ?=
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

help:
	@echo "make run     start everything on the simulated venue; Ctrl-C ends it (DURATION=60: by itself)"
	@echo "make test    run the tests"
	@echo "make check   lint, formatting, types"
	@echo "make bench   measure, and print the table of figures"
	@echo "make stress  the long runs of the crash and race tests, and of what is drawn at random"
	@echo "make clean   remove the virtual environment and what was built"

run: $(VENV)/.installed
	@$(PY) -m host up $(if $(DURATION),--duration $(DURATION))

test: $(VENV)/.developing
	@$(PY) -m pytest -q -n 4 --dist loadfile -m "not stress"

check: $(VENV)/.developing
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

bench: $(VENV)/.developing
	@$(PY) -m bench

stress: $(VENV)/.developing
	@$(PY) -m pytest -q -n 4 --dist loadfile -m "hypothesis and not stress" --hypothesis-profile explore
	@$(PY) -m pytest -q -s -m stress

clean:
	@rm -rf $(VENV) build *.egg-info cache/*.so feeds/*.so

$(PY):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is missing. Install it: sudo apt-get install python3 python3-venv"; exit 1; }
	@echo "making the virtual environment $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv is missing. Install it: sudo apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml setup.py constraints.txt $(wildcard cache/*.[ch] feeds/*.[ch]) | $(PY)
	@echo "installing what penstock runs on (pinned in constraints.txt)"
	@PIP_CONSTRAINT= $(PIP) --editable .
	@$(PY) -c 'from cache.core import core; from feeds.core import core as books; \
		print("C core:", "built" if core and books else "not built, pure Python runs instead. For speed: sudo apt-get install gcc python3-dev, then make clean")'
	@touch $@

$(VENV)/.developing: $(VENV)/.installed
	@echo "installing what the tests need"
	@$(PIP) --editable '.[dev]'
	@touch $@
