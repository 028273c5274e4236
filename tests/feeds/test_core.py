import importlib

import pytest

from feeds.core import find


def test_the_core_is_left_out_where_that_is_wished():
    assert find("0") == (None, "PENSTOCK_CORE=0")


def test_a_missing_core_is_told_and_where_it_is_demanded_an_error(monkeypatch):
    def missing(name):
        raise ImportError(f"no {name}")

    monkeypatch.setattr(importlib, "import_module", missing)
    assert find("") == (None, "no feeds._book")
    with pytest.raises(ImportError):
        find("1")
