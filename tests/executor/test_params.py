from cache.gate import FAST15M, LONG
from executor.params import executor_params
from host.config import load


def test_the_shipped_configuration_makes_parameters(make):
    config = load(environ={})
    params = executor_params(config)
    assert params.role == f"executor.{config.executor.account}"
    assert params.policy[1:] == FAST15M[1:]
    assert params.limits.px_min_e9 == make.CENT
    assert params.limits.px_max_e9 == 99 * make.CENT
    assert params.limits.total_loss_max_e9 >= params.limits.market_loss_max_e9
    assert params.paper.place.p50_ns == config.paper.place_latency_ms_p50 * make.MS
    assert params.paper.evidence_delay_ns == config.paper.evidence_delay_ms * make.MS


def test_the_threshold_of_the_book_store_is_that_of_who_names_no_other():
    changed = {"BOOK_STORE_DEFAULT_MAX_STALE_MS": "600"}
    assert executor_params(load(environ=changed)).policy.evidence_ns_max == 600_000_000
    named = changed | {"PENSTOCK_EXECUTOR_POLICY": "long"}
    assert executor_params(load(environ=named)).policy is LONG


def test_waiting_for_the_last_cancels_fits_into_the_time_to_stop_and_outlasts_them():
    config = load(environ={})
    params = executor_params(config)
    assert params.halt_ns < config.supervisor.stop_timeout_s * 1e9
    slowest = 10 * params.paper.cancel.p99_ns + params.paper.evidence_delay_ns
    assert params.halt_ns > slowest


def test_the_shipped_boards_have_room_for_what_the_limits_allow():
    config = load(environ={})
    params = executor_params(config)
    assert params.order_slots >= 2 * params.limits.orders_open_max
    assert params.market_slots >= config.feeds.polymarket.market_slots
