import json
from enum import IntEnum

import pytest

from cache.errors import PenstockError
from host import say as module
from host.config import ConfigError
from host.say import say, say_json, tell_json, teller


class Code(IntEnum):
    USAGE = 2


def test_an_error_of_ours_is_one_line_of_json_in_one_shape(capsys):
    tell_json(Code.USAGE, ConfigError(["one", "two"]))
    tell_json(Code.USAGE, PenstockError("so it is"))
    out, err = capsys.readouterr()
    first, second = (json.loads(line)["error"] for line in out.splitlines())
    assert (first["code"], first["name"], first["faults"]) == (2, "USAGE", ["one", "two"])
    assert (second["message"], second["faults"]) == ("so it is", [])
    assert list(first) == list(second)
    assert err == ""


def test_an_error_of_nobody_has_its_traceback_besides(capsys):
    tell_json(Code.USAGE, ZeroDivisionError("x"))
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["message"] == "ZeroDivisionError: x"
    assert err.endswith("ZeroDivisionError: x\n")


def test_json_is_for_who_asks_for_it():
    assert teller(["status", "--json"]) is tell_json
    assert teller(["status"]) is None


def test_a_reader_that_has_gone_hears_nothing_more_and_raises_nothing(monkeypatch):
    def broken(*words, **options):
        raise BrokenPipeError

    hushed = []
    monkeypatch.setattr(module, "print", broken, raising=False)
    monkeypatch.setattr(module, "hush", lambda: hushed.append(1))
    say("text")
    say_json({})
    assert hushed == [1, 1]


def test_any_other_fault_of_stdout_is_raised(monkeypatch):
    def full(*words, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "print", full, raising=False)
    with pytest.raises(OSError, match="No space"):
        say("text")
