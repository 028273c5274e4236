import sys

from host.config import load
from host.roles import plan


def test_the_order_of_the_start_is_sim_feeds_strategy_executor():
    parts = plan(load(environ={}))
    assert [part.role for part in sorted(parts, key=lambda p: p.stage)] == [
        "sim", "feed.binance.0", "feed.polymarket.0", "strategy.maker", "executor.paper",
    ]  # fmt: skip


def test_the_order_of_the_stop_leaves_no_order_resting():
    parts = sorted(plan(load(environ={})), key=lambda p: p.stop_stage)
    assert [part.role.partition(".")[0] for part in parts] == [
        "strategy", "executor", "feed", "feed", "sim",
    ]  # fmt: skip


def test_without_an_embedded_venue_no_sim_is_started():
    config = load(environ={"PENSTOCK_SIM_EMBEDDED": "false"})
    assert "sim" not in [part.role for part in plan(config)]


def test_every_process_is_a_command_line_with_the_same_configuration():
    for part in plan(load(environ={}), "/etc/mine.toml"):
        assert part.command[:2] == (sys.executable, "-m")
        assert part.command[-2:] == ("--config", "/etc/mine.toml")


def test_names_follow_the_configuration():
    environ = {"PENSTOCK_STRATEGY_ID": "other", "PENSTOCK_EXECUTOR_ACCOUNT": "second"}
    roles = [part.role for part in plan(load(environ=environ))]
    assert "strategy.other" in roles
    assert "executor.second" in roles


def test_a_replay_is_checked_before_anything_starts():
    checks = {part.role: part.check for part in plan(load(environ={}), "/etc/mine.toml")}
    assert not any(checks.values())
    replay = {"PENSTOCK_SIM_MODE": "replay", "PENSTOCK_SIM_RECORDINGS": '["x"]'}
    (check,) = filter(None, (part.check for part in plan(load(environ=replay), "/etc/mine.toml")))
    assert check[1:] == ("-m", "sim", "--check", "--config", "/etc/mine.toml")
