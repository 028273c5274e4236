import sys
import types

import pytest

from cache import core
from cache.errors import UnsupportedMachine
from cache.layout import LAYOUT_HASH


def _pretend(monkeypatch, **attributes):
    module = types.ModuleType("cache._board")
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, "cache._board", module)
    return module


def test_a_core_of_this_layout_is_used(monkeypatch):
    module = _pretend(monkeypatch, LAYOUT_HASH=LAYOUT_HASH)
    assert core.find("") == (module, "")
    assert core.find("1") == (module, "")


def test_the_core_can_be_left_out(monkeypatch):
    _pretend(monkeypatch, LAYOUT_HASH=LAYOUT_HASH)
    assert core.find("0") == (None, "PENSTOCK_CORE=0")


def test_a_core_of_another_layout_is_not_used_and_says_both(monkeypatch):
    _pretend(monkeypatch, LAYOUT_HASH=0x77)
    found, why = core.find("")
    assert found is None
    assert f"built for layout 0x77, not {LAYOUT_HASH:#x}" in why
    with pytest.raises(ImportError, match="build it again"):
        core.find("1")


def test_a_missing_core_is_an_error_only_where_it_is_demanded(monkeypatch):
    monkeypatch.setitem(sys.modules, "cache._board", None)
    found, why = core.find("")
    assert found is None
    assert "cache._board" in why
    with pytest.raises(ImportError):
        core.find("1")


@pytest.mark.parametrize(("machine", "is_fine"), [("x86_64", True), ("aarch64", False)])
def test_without_the_core_only_x86_64_is_good_enough(monkeypatch, machine, is_fine):
    monkeypatch.setattr(core, "core", None)
    monkeypatch.setattr(core.platform, "machine", lambda: machine)
    if is_fine:
        core.require_ordered_stores()
    else:
        with pytest.raises(UnsupportedMachine, match=r"aarch64.*C compiler"):
            core.require_ordered_stores()


def test_with_the_core_every_cpu_is_good_enough(monkeypatch):
    monkeypatch.setattr(core, "core", object())
    monkeypatch.setattr(core.platform, "machine", lambda: "aarch64")
    core.require_ordered_stores()
