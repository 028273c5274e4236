import json

import pytest

from cache.segment import WriterSegment
from host import cli
from host.clock import monotonic_ns
from tests.cache.book_world import FeedWorld


@pytest.fixture(autouse=True)
def named(namespace, monkeypatch):
    monkeypatch.setenv("PENSTOCK_HOST_NAMESPACE", namespace)


@pytest.fixture
def beating(filled, namespace):
    """The filled family, its hearts beating on the real clock."""
    from cache.layout import HEADER_AT
    from cache.segment import roles, segment_path

    for role in roles(namespace):
        with open(segment_path(namespace, role), "r+b") as file:
            file.seek(HEADER_AT["heartbeat_ns"])
            file.write(monotonic_ns().to_bytes(8, "little"))
    return namespace


@pytest.mark.parametrize(
    "words",
    [[], ["up"], ["down"], ["status"], ["top"], ["shm", "dump"], ["shm", "check"]],
    ids=" ".join,
)
def test_every_command_has_help_with_an_example(words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--help"])
    assert ended.value.code == 0
    assert f"example: penstock {' '.join(words or ['up'])}" in capsys.readouterr().out


def error_of(capsys, code):
    """The one JSON line that says an error, with its shape checked."""
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    (line,) = out.splitlines()
    found = json.loads(line)
    assert list(found) == ["error"]
    assert list(found["error"]) == ["code", "name", "message", "faults"]
    assert found["error"]["code"] == code
    return found["error"]


WRONG = [
    [],
    ["nonsense"],
    ["status", "--nonsense"],
    ["shm"],
    *(["up", "--duration", text] for text in ("nan", "inf", "-1", "0", "soon", "1e99")),
    *(["top", "--interval", text] for text in ("nan", "-1", "inf")),
    ["top", "--count", "0"],
    ["top", "--count", "-1"],
    *(["down", "--timeout", text] for text in ("-1", "nan", "inf")),
    ["shm", "dump", "--slot", "-1"],
    ["shm", "dump", "--history", "0"],
    ["shm", "dump", "executor.paper", "--slot", "1"],
    ["shm", "dump", "executor.paper", "--history", "2"],
    ["shm", "dump", "executor.paper", "--board", "nonsense"],
    ["shm", "dump", "executor.paper", "--board", "fills", "--slot", "1"],
    ["shm", "dump", "feed.nonsense"],
    ["shm", "dump", "../../etc/passwd"],
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_wrong_usage_is_exit_2_with_a_reason_and_never_a_traceback(filled, words, capsys):
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.strip()
    assert "Traceback" not in err
    assert cli.main([*words, "--json"]) == 2
    assert error_of(capsys, 2)["name"] == "USAGE"


COMMANDS = [
    ["up"],
    ["down"],
    ["status"],
    ["top", "--count", "1"],
    ["shm", "dump"],
    ["shm", "check"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_refuses_a_configuration_it_cannot_read(words, tmp_path, capsys):
    bad = {
        "absent": None, "folder": None, "large": b"#" * (2 << 20), "bytes": b"a = '\xff'",
        "syntax": b"[host", "value": b"[sim]\nport = 0",
    }  # fmt: skip
    (tmp_path / "folder").mkdir()
    for name, content in bad.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        assert cli.main([*words, "--config", str(path)]) == 2
        out, err = capsys.readouterr()
        assert (out, "Traceback" in err) == ("", False)
        assert cli.main([*words, "--json", "--config", str(path)]) == 2
        (fault,) = error_of(capsys, 2)["faults"]
        assert fault in err
        assert str(path) in fault or fault.startswith("sim.port is 0")


def test_bad_configuration_is_exit_2(monkeypatch, capsys):
    monkeypatch.setenv("PENSTOCK_HOST_IDLE", "sleep")
    assert cli.main(["status"]) == 2
    assert "host.idle" in capsys.readouterr().err


def test_a_fault_is_json_too(capsys):
    assert cli.main(["shm", "dump", "sim", "--json"]) == 1
    assert "does not exist" in error_of(capsys, 1)["message"]


def test_an_error_of_nobody_has_its_traceback_on_stderr_and_json_on_stdout(monkeypatch, capsys):
    monkeypatch.setattr(cli, "load", lambda path: 1 // 0)
    assert cli.main(["status", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["message"].startswith("ZeroDivisionError")
    assert "Traceback" in err


def test_status_of_a_live_family_is_0_and_prints_its_tables(beating, capsys):
    assert cli.main(["status", "--counters"]) == 0
    out = capsys.readouterr().out
    assert "feed.binance.0" in out
    assert "btc-up-1" in out


def test_status_is_1_where_something_is_dead_and_where_nothing_runs(filled, capsys):
    assert cli.main(["status"]) == 1, "the hearts of `filled` stand still"
    capsys.readouterr()


def test_status_of_nothing_is_1_and_says_so(capsys):
    assert cli.main(["status"]) == 1
    assert "nothing runs" in capsys.readouterr().out


def test_status_as_json(beating, capsys):
    assert cli.main(["status", "--json"]) == 0
    picture = json.loads(capsys.readouterr().out)
    assert picture["namespace"] == beating
    assert picture["fills"][-1]["fill_id"] == 30


def test_top_ends_after_its_count(beating, capsys):
    assert cli.main(["top", "--count", "2", "--interval", "0", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert cli.main(["top", "--count", "1"]) == 0


def test_top_into_a_pipe_says_each_look_and_ends_its_lines(filled, capsys):
    assert cli.main(["top", "--count", "2", "--interval", "0"]) == 0
    told = capsys.readouterr().out
    assert told.count("processes of") == 2
    assert told.endswith("\n")


def test_check_is_silent_when_all_is_well(beating, capsys):
    assert cli.main(["shm", "check", "feed.binance.0"]) == 0
    assert cli.main(["shm", "check"]) == 0
    assert capsys.readouterr() == ("", "")


def test_check_of_what_is_not_live_is_1_with_the_reason(filled, capsys):
    assert cli.main(["shm", "check", "feed.binance.0"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "STALLED" in err
    assert cli.main(["shm", "check", "feed.absent", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_check_of_nothing_is_1(capsys):
    assert cli.main(["shm", "check"]) == 1
    assert "no segment" in capsys.readouterr().err


def test_dump_names_the_segments_shows_one_and_its_records(filled, capsys):
    assert cli.main(["shm", "dump"]) == 0
    assert "executor.paper" in capsys.readouterr().out.split()
    assert cli.main(["shm", "dump", "executor.paper"]) == 0
    assert "fills" in capsys.readouterr().out
    assert cli.main(["shm", "dump", "executor.paper", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["boards"]["fills"]["cell_count"] == 64
    words = ["shm", "dump", "executor.paper", "--board", "fills", "--history", "2"]
    assert cli.main(words) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert cli.main([*words, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_dump_of_what_does_not_run_is_1_and_says_so(capsys):
    assert cli.main(["shm", "dump", "feed.binance.0"]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_dump_of_a_role_that_nobody_has_names_those_there_are(filled, capsys):
    assert cli.main(["shm", "dump", "feed.absent"]) == 2
    assert "'feed.absent': write one of executor.paper, feed.binance.0" in capsys.readouterr().err


def test_down_removes_what_is_left_over(namespace, capsys):
    WriterSegment.create("feed.a", (), namespace=namespace).close()
    assert cli.main(["down"]) == 0
    assert "removed: feed.a" in capsys.readouterr().out
    assert cli.main(["down", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": [], "troubles": []}


def test_down_of_the_living_is_1(namespace, capsys):
    living = WriterSegment.create("feed.a", (), namespace=namespace)
    assert cli.main(["down"]) == 1
    assert "living writer" in capsys.readouterr().err
    living.close()


def test_sim_and_bench_become_their_own_command_line(monkeypatch):
    started = []
    monkeypatch.setattr(cli.os, "execv", lambda path, words: started.append(words[1:]) or 0)
    cli.main(["sim", "--bad"])
    cli.main(["bench", "--json"])
    assert started == [["-m", "sim", "--bad"], ["-m", "bench", "--json"]]


@pytest.mark.parametrize("words", [["status"], ["top", "--count", "1"]], ids=" ".join)
def test_depth_is_judged_by_the_policies_of_the_configuration(
    namespace, monkeypatch, capsys, words
):
    worlds = [FeedWorld(namespace), FeedWorld(namespace, "polymarket", ("1", "2"))]
    monkeypatch.setenv("PENSTOCK_STRATEGY_BOOK_POLICY", "latency_arb")
    monkeypatch.setenv("PENSTOCK_STRATEGY_REFERENCE_POLICY", "long")
    cli.main([*words, "--json"])
    rows = json.loads(capsys.readouterr().out)["depths"]
    assert {(row["feed"], row["policy"]) for row in rows} == {
        ("feed.polymarket.0", "latency_arb"), ("feed.binance.0", "long"),
    }  # fmt: skip
    for world in worlds:
        world.segment.close(remove=True)
