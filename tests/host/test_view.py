import json
import sys

from msgspec.structs import replace

from host import log
from host.config import load
from host.view import LiveView, PlainView, open_view
from tests.cache.book_world import FeedWorld

NOW_NS = 5_000_000_000_000


def config_of(namespace, tmp_path):
    return load(
        environ={
            "PENSTOCK_HOST_NAMESPACE": namespace,
            "PENSTOCK_SUPERVISOR_LOG_DIR": str(tmp_path / "logs"),
        }
    )


def test_without_a_terminal_there_is_a_line_every_few_seconds_and_each_fill_once(
    filled, tmp_path, capsys
):
    view = open_view(config_of(filled, tmp_path), "plain")
    assert isinstance(view, PlainView)
    view.show(NOW_NS - 5_000_000_000)
    assert capsys.readouterr().out == "", "nothing has been started yet"
    view.show(NOW_NS)
    status, *fills = capsys.readouterr().out.splitlines()
    assert "BTCUSDT 60,000/60,001" in status
    assert "BUY Up btc-up-1 1 at 0.44 maker" in fills[-1]
    view.show(NOW_NS + 1)
    assert capsys.readouterr().out == ""
    view.show(NOW_NS + 5_000_000_000)
    assert len(capsys.readouterr().out.splitlines()) == 1
    view.close()


def test_programs_get_json(filled, tmp_path, capsys):
    view = open_view(config_of(filled, tmp_path), "json")
    view.show(NOW_NS - 5_000_000_000)
    view.show(NOW_NS)
    assert json.loads(capsys.readouterr().out)["books"][0]["market"] == "btc-up-1"


def test_depth_is_judged_by_the_policies_of_the_configuration(namespace, tmp_path, capsys):
    world = FeedWorld(namespace)
    config = config_of(namespace, tmp_path)
    config = replace(config, strategy=replace(config.strategy, reference_policy="long"))
    view = open_view(config, "json")
    view.show(NOW_NS - 5_000_000_000)
    view.show(NOW_NS)
    rows = json.loads(capsys.readouterr().out)["depths"]
    assert [row["policy"] for row in rows] == ["long", "long"]
    world.segment.close(remove=True)


def test_on_a_terminal_there_is_a_page_and_the_logs_go_to_files(filled, tmp_path, capsys):
    before = log.SINK.stream
    view = open_view(config_of(filled, tmp_path), "live")
    assert isinstance(view, LiveView)
    log.get_log("test").info("said")
    view.show(NOW_NS)
    view.show(NOW_NS + 1)
    view.close()
    out, err = capsys.readouterr()
    assert "btc-up-1" in out
    assert "test.said" in err, "the last lines are left standing"
    assert "test.said" in (view.log_dir / "supervisor.log").read_text()
    assert log.SINK.stream is before
    assert sys.stderr is not None
