"""host/config.py: layers, faults reported together, secrets kept out, the manual complete."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.md_config import MDCacheConfig
from host.config import (
    BYTES_MAX,
    DEFAULT_PATH,
    ConfigError,
    describe,
    effective,
    keys,
    load,
    mask,
    secret,
)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def faults_of(path: Path | None, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ=environ)
    return caught.value.faults


def test_the_shipped_configuration_loads_and_leads_to_the_embedded_venue() -> None:
    config = load(environ={})
    assert config.sim.embedded
    address = f"{config.sim.host}:{config.sim.port}"
    assert config.venues.polymarket.ws_url == f"ws://{address}/polymarket/ws/market"
    assert config.venues.binance.rest_url == f"http://{address}/binance"


def test_a_file_of_ones_own_needs_only_the_keys_it_changes(tmp_path: Path) -> None:
    path = write(tmp_path, '[host]\nnamespace = "mine"\n[feeds.polymarket]\nmarket_slots = 3\n')
    config = load(path, environ={})
    assert config.host.namespace == "mine"
    assert config.feeds.polymarket.market_slots == 3
    assert config.host.idle == load(environ={}).host.idle


def test_the_file_can_be_named_in_the_environment(tmp_path: Path) -> None:
    path = write(tmp_path, '[host]\nnamespace = "mine"\n')
    assert load(environ={"PENSTOCK_CONFIG": str(path)}).host.namespace == "mine"


def test_the_environment_lies_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '[sim]\nport = 1000\n[host]\nnamespace = "mine"\n')
    config = load(
        path,
        environ={
            "PENSTOCK_SIM_PORT": "2000",
            "PENSTOCK_HOST_NAMESPACE": "other",
            "PENSTOCK_FEEDS_BINANCE_SYMBOLS": '["ETHUSDT"]',
            "PENSTOCK_RECORDINGS": "/not/a/key",
        },
    )
    assert (config.sim.port, config.host.namespace) == (2000, "other")
    assert config.feeds.binance.symbols == ("ETHUSDT",)
    assert ":2000/" in config.venues.polymarket.clob_url


BOOK_STORE = {
    "HFT_BOOK_CACHE_ENABLED": ("0", "enabled", False),
    "BOOK_STORE_DEFAULT_MAX_STALE_MS": ("1600", "default_max_stale_ms", 1600),
    "BOOK_STORE_HARD_STALE_MS": ("5100", "hard_stale_ms", 5100),
    "BOOK_STORE_MAX_DEPTH": ("19", "max_depth", 19),
    "BOOK_STORE_WARMUP_TIMEOUT_MS": ("10100", "warmup_timeout_ms", 10_100),
    "BOOK_STORE_WARMUP_MIN_READY_FRACTION": ("0.7", "warmup_min_ready_fraction", 0.7),
}


def test_the_book_store_ships_with_the_values_it_is_known_by() -> None:
    found = load(environ={}).book_store
    assert found.enabled
    assert (found.default_max_stale_ms, found.hard_stale_ms, found.max_depth) == (1500, 5000, 20)
    assert (found.warmup_timeout_ms, found.warmup_min_ready_fraction) == (10_000, 0.8)


@pytest.mark.parametrize("name", BOOK_STORE)
def test_the_book_store_is_set_by_the_names_users_know(tmp_path: Path, name: str) -> None:
    text, key, value = BOOK_STORE[name]
    path = write(tmp_path, "[book_store]\nmax_depth = 3\nenabled = true\n")
    assert getattr(load(path, environ={name: text}).book_store, key) == value


@pytest.mark.parametrize("name", BOOK_STORE)
def test_a_bad_value_is_refused_by_the_name_that_set_it(name: str) -> None:
    (fault,) = faults_of(None, **{name: "much"})
    assert f"book_store.{BOOK_STORE[name][1]}" in fault
    assert name in fault


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("HFT_BOOK_CACHE_ENABLED", "2"),
        ("BOOK_STORE_MAX_DEPTH", "21"),
        ("BOOK_STORE_MAX_DEPTH", "0"),
        ("BOOK_STORE_HARD_STALE_MS", "1499"),
        ("BOOK_STORE_DEFAULT_MAX_STALE_MS", "0"),
        ("BOOK_STORE_DEFAULT_MAX_STALE_MS", "5001"),
        ("BOOK_STORE_WARMUP_MIN_READY_FRACTION", "1.1"),
        ("BOOK_STORE_WARMUP_TIMEOUT_MS", "-1"),
    ],
)
def test_a_value_out_of_range_is_refused_by_the_name_that_set_it(name: str, text: str) -> None:
    (fault,) = faults_of(None, **{name: text})
    assert name in fault


def test_bad_values_of_every_name_are_reported_together_each_by_its_name() -> None:
    bad = dict.fromkeys(BOOK_STORE, "much")
    faults = faults_of(None, **bad)
    assert len(faults) == len(BOOK_STORE)
    for name, (_, key, _) in BOOK_STORE.items():
        (fault,) = [text for text in faults if f"(the environment sets {name})" in text]
        assert f"book_store.{key} is 'much'" in fault


def test_a_name_is_read_as_its_key_is_shipped_whatever_stands_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '[book_store]\nenabled = "no"\nmax_depth = "many"\n')
    environ = {"HFT_BOOK_CACHE_ENABLED": "0", "BOOK_STORE_MAX_DEPTH": "7"}
    found = load(path, environ=environ).book_store
    assert (found.enabled, found.max_depth) == (False, 7)


def test_two_names_of_one_key_must_say_the_same() -> None:
    one, other = "BOOK_STORE_MAX_DEPTH", "PENSTOCK_BOOK_STORE_MAX_DEPTH"
    assert load(environ={one: "7", other: "7"}).book_store.max_depth == 7
    (fault,) = faults_of(None, **{one: "7", other: "8"})
    assert one in fault
    assert other in fault


def test_a_name_that_is_nearly_one_of_the_book_stores_is_refused() -> None:
    (fault,) = faults_of(None, BOOK_STORE_MAX_DEPHT="7")
    assert "BOOK_STORE_MAX_DEPHT" in fault
    assert "BOOK_STORE_MAX_DEPTH" in fault


def test_all_faults_are_reported_together_each_with_what_to_change(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        [host]
        namespaces = "x"
        heartbeat_ms = 5
        idle = "sleep"
        [sim]
        port = "http"
        embedded = 1
        [nowhere]
        key = 1
        [venues.binance]
        ws_url = "http://wrong"
        [supervisor]
        restart_delay_ms_max = 1
        start_timeout_s = nan
        [feeds.polymarket]
        market_slots = 1
        tokens = ["12", "x", 3]
        [executor]
        market_slots = 0
        [paper]
        px_min = "0.9"
        px_max = "0.1"
        """,
    )
    faults = faults_of(path, PENSTOCK_SIM_PROT="1")
    text = "\n".join(faults)
    for part in (
        "host.namespaces is unknown: remove it from",
        "or write namespace",
        "host.heartbeat_ms is 5: expected `int` >= 10; write a whole number at least 10 and at",
        "host.idle is 'sleep'",
        '"park", "spin", "yield"',
        "sim.port is 'http': expected `int`",
        "sim.embedded is 1: expected `bool`",
        "nowhere is unknown",
        "venues.binance.ws_url is 'http://wrong'",
        "supervisor: restart_delay_ms_max is 1: make it at least 250, restart_delay_ms",
        "supervisor.start_timeout_s is nan: expected `float` > 0.0",
        "feeds.polymarket.tokens[1] is 'x': expected `str` matching",
        "feeds.polymarket.tokens[2] is 3: expected `str`",
        "executor.market_slots is 0: expected `int` >= 1",
        "paper: px_min is 0.9 and px_max 0.1: prices lie between 0 and 1",
        "PENSTOCK_SIM_PROT in the environment sets no key, or write PENSTOCK_SIM_PORT",
    ):
        assert part in text
    assert len(faults) == 14, text


def test_a_rule_is_asked_in_the_same_round_unless_it_concerns_a_faulty_key(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        [paper]
        quote_px_min = "high"
        quote_px_max = "0.01"
        px_max = "7"
        place_latency_ms_p50 = 5000
        [feeds]
        binance = 4
        """,
    )
    venue, bad, prices, latency = faults_of(path)
    assert venue == "feeds.binance is 4: make it a section, [feeds.binance]"
    assert bad.startswith("paper.quote_px_min is 'high'"), "and nothing of quote_px_max"
    assert prices.startswith("paper: px_min is 0.01 and px_max 7")
    assert latency == (
        "paper: place_latency_ms_p99 is 90: make it at least 5000, place_latency_ms_p50"
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("market_slots = 1", "market_slots is 1: make it at least 3, for each family's running"),
        ('market_slots = 5\nfamilies = ["btc-updown-5m", "eth-updown-5m"]', "make it at least 6"),
        ('market_slots = 3\ntokens = ["1", "2", "3"]', "make it at least 5"),
        ('families = ["btc-updown-5m", "btc-updown-5m"]', "names btc-updown-5m twice"),
        ('tokens = ["1", "1"]', "tokens names 1 twice"),
        ('families = ["btc-updown-0m"]', "families[0] is 'btc-updown-0m': expected"),
    ],
)
def test_the_markets_to_follow_fit_into_the_slots(tmp_path: Path, text: str, fault: str) -> None:
    assert fault in faults_of(write(tmp_path, f"[feeds.polymarket]\n{text}\n"))[0]


@pytest.mark.parametrize(
    "text",
    [
        '[strategy]\nfamilies = ["anything"]',
        '[executor]\nstrategies = ["Maker 1"]',
        '[sim]\nrecordings = [""]',
        '[sim]\nhost = "a b"',
        "[executor]\norders_per_s = 99999999999999999999",
    ],
)
def test_no_key_is_left_without_a_range(tmp_path: Path, text: str) -> None:
    (fault,) = faults_of(write(tmp_path, text))
    assert fault.split(" is ")[0].split("[")[0] == text[1:].split(" =")[0].replace("]\n", ".")


def test_a_fault_of_the_environment_names_the_variable() -> None:
    shipped = {
        "PENSTOCK_SIM_PORT": "0",
        "PENSTOCK_SIM_RECORDINGS": "day.jsonl",
        "PENSTOCK_PAPER_PX_MAX": "0.001",
    }
    px, port, recordings = sorted(faults_of(None, **shipped))
    assert px.endswith("(the environment sets PENSTOCK_PAPER_PX_MAX)")
    assert port.startswith("sim.port is 0")
    assert port.endswith("(the environment sets PENSTOCK_SIM_PORT)")
    assert "write a list" in recordings


def test_the_environment_has_no_place_in_what_is_no_section(tmp_path: Path) -> None:
    (fault,) = faults_of(write(tmp_path, "feeds = 3"), PENSTOCK_FEEDS_BINANCE_SYMBOL_SLOTS="9")
    assert fault == "feeds is 3: make it a section, [feeds]"


def test_a_long_value_is_not_repeated_whole(tmp_path: Path) -> None:
    (fault,) = faults_of(write(tmp_path, f'[host]\nnamespace = "{"x" * 5000}"'))
    assert len(fault) < 300


def test_a_value_in_the_place_of_a_section_is_a_fault(tmp_path: Path) -> None:
    assert "host is 3: make it a section, [host]" in faults_of(write(tmp_path, "host = 3"))


def test_an_unreadable_or_malformed_file_is_a_fault(tmp_path: Path) -> None:
    assert "name a file that exists" in faults_of(tmp_path / "absent.toml")[0]
    assert "is not TOML" in faults_of(write(tmp_path, "[host"))[0]
    assert "is not TOML" in faults_of(write(tmp_path, "a = " + "[" * 100_000))[0]
    assert "is not TOML" in faults_of(write(tmp_path, "a = " + "9" * 10_000))[0]
    assert "no regular file" in faults_of(tmp_path)[0]
    path = tmp_path / "mine.toml"
    path.write_bytes(b"[host]\nnamespace = '\xff'\n")
    assert "is not TOML" in faults_of(path)[0]
    with path.open("wb") as file:
        file.truncate(BYTES_MAX + 1)
    assert "is larger than" in faults_of(path)[0]
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "cannot be read" in faults_of(loop)[0]
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in faults_of(tmp_path / "pipe")[0]


def test_a_file_this_user_may_not_read_is_a_fault(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path = write(tmp_path, "")
    opened = Path.open

    def refuse(self, *words):  # type: ignore[no-untyped-def]
        if self == path:
            raise PermissionError(13, "Permission denied")
        return opened(self, *words)

    monkeypatch.setattr(Path, "open", refuse)
    assert "make it readable to this user" in faults_of(path)[0]


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert load(write(tmp_path, ""), environ={}) == load(environ={})


def test_checks_across_keys_speak(tmp_path: Path) -> None:
    path = write(tmp_path, '[supervisor]\nrestart_delay_ms_max = 1\n[sim]\nmode = "replay"\n')
    supervisor, sim = faults_of(path)
    assert supervisor.startswith("supervisor: restart_delay_ms_max is 1")
    assert sim.startswith("sim: ")
    assert "recording" in sim


def test_a_key_that_looks_like_a_secret_is_sent_to_the_environment(tmp_path: Path) -> None:
    (fault,) = faults_of(write(tmp_path, '[executor]\nprivate_key = "0xdeadbeef"\n'))
    assert "put it in the environment" in fault
    assert "deadbeef" not in fault


def test_a_missing_secret_names_its_variable() -> None:
    assert secret("PENSTOCK_KEY", environ={"PENSTOCK_KEY": "x"}) == "x"
    with pytest.raises(ConfigError, match="PENSTOCK_KEY is not set"):
        secret("PENSTOCK_KEY", environ={})


def test_credentials_in_a_url_are_masked_wherever_it_is_shown(tmp_path: Path) -> None:
    assert mask("wss://me:pw@host/x") == "wss://***@host/x"
    path = write(tmp_path, '[venues.binance]\nws_url = "wss://me:pw@host/x"\n')
    assert effective(load(path, environ={}))["venues.binance.ws_url"] == "wss://***@host/x"
    bad = write(tmp_path, '[venues.binance]\nws_url = "http://me:pw@host/x"\n')
    assert not any("pw" in fault for fault in faults_of(bad))


def test_the_effective_configuration_has_every_key() -> None:
    shown = effective(load(environ={}))
    assert set(shown) == set(keys())


def manual() -> dict[str, str]:
    """Read penstock.toml as text: each key with the comment that stands directly above it."""
    section, comment, found = "", [], {}
    for line in DEFAULT_PATH.read_text().splitlines():
        if line.startswith("#"):
            comment.append(line.lstrip("# "))
        elif match := re.match(r"\[(.+)\]", line):
            section, comment = match[1], []
        elif match := re.match(r"(\w+) *=", line):
            found[f"{section}.{match[1]}"] = " ".join(comment)
            comment = []
        elif not line.strip():
            comment = []
    return found


def test_every_key_has_its_paragraph_in_the_manual_and_no_paragraph_is_left_over() -> None:
    written = manual()
    assert set(written) == set(keys())
    short = [key for key, text in written.items() if len(text) < 20]
    assert not short, f"give these keys of penstock.toml a paragraph directly above: {short}"


def test_a_range_can_be_said_in_words() -> None:
    assert describe(bool) == "write true or false"
    assert describe(tuple[str, ...]).startswith("write a list")
    assert describe(int) == "write a whole number"


def test_a_polled_reference_is_asked_of_the_embedded_venue_unless_told_otherwise() -> None:
    shipped = load(environ={}).feeds.binance
    assert shipped.source == "stream"
    port = {"PENSTOCK_SIM_PORT": "9001", "PENSTOCK_FEEDS_BINANCE_SOURCE": "poll"}
    polled = load(environ=port).feeds.binance
    assert polled.source == "poll"
    assert polled.poll_url == "http://127.0.0.1:9001/pricer/snapshot?symbol={symbol}"


def test_several_polled_symbols_need_a_place_in_the_url(tmp_path: Path) -> None:
    two = 'symbols = ["BTCUSDT", "ETHUSDT"]\nsource = "poll"\npoll_url = "http://pricer/x"'
    with pytest.raises(ConfigError, match=r"write \{symbol\} where the symbol belongs"):
        load(write(tmp_path, f"[feeds.binance]\n{two}"), environ={})
    load(write(tmp_path, "[feeds.binance]\n" + two.replace("/x", "/{symbol}")), environ={})
    load(write(tmp_path, "[feeds.binance]\n" + two.replace('"poll"', '"stream"')), environ={})


def test_every_endpoint_of_a_venue_is_a_setting() -> None:
    """No process knows an address: any server that speaks the protocol can stand in."""
    address = re.compile(r"\b(?:wss?|https?)://[a-z0-9.-]+", re.IGNORECASE)
    for package in ("venue", "feeds", "strategy", "executor", "host"):
        for path in (DEFAULT_PATH.parent / package).glob("*.py"):
            assert not address.findall(path.read_text()), path.name
    urls = [name for name in keys() if name.startswith("venues.")]
    assert urls
    for name in urls:
        variable = "PENSTOCK_" + name.upper().replace(".", "_")
        kind = "wss" if name.endswith(("ws_url", "polybolt_url")) else "https"
        config = load(environ={variable: f"{kind}://stand-in:1/x"})
        assert effective(config)[name] == f"{kind}://stand-in:1/x"


VALUES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "nan",
            "-inf",
            "1e400",
            "[[]]",
            "{}",
            "{a = 1}",
            "[1, 'x', true]",
            "1979-05-27",
            "-0",
            "''",
        ]
    ),
    st.integers().map(str),
    st.floats().map(repr),
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(keys())), VALUES, min_size=1, max_size=5))
def test_nothing_that_is_configured_raises_anything_but_its_faults(given_values: object) -> None:
    assert isinstance(given_values, dict)
    environ = {f"PENSTOCK_{k.upper().replace('.', '_')}": v for k, v in given_values.items()}
    with contextlib.suppress(ConfigError):
        assert load(environ=environ)


MD_CACHE = {
    "enabled": True, "ttl_ms": 1000, "max_depth": 20, "stale_ok": True,
    "invalidate_on_ws_gap_ms": 1500, "max_inflight_refresh": 1, "share": 1.0, "shadow": False,
}  # fmt: skip


def test_the_cache_of_rest_snapshots_ships_on_and_is_off_for_who_makes_one_without_a_word() -> None:
    found = load(environ={}).md_cache
    assert {key: getattr(found, key) for key in MD_CACHE} == MD_CACHE
    assert not MDCacheConfig().enabled


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [("ttl_ms", 10, 5_000), ("max_depth", 1, 200), ("invalidate_on_ws_gap_ms", 50, 10_000)],
)
def test_the_cache_of_rest_snapshots_has_the_ranges_that_were_asked_for(
    tmp_path: Path, key: str, low: int, high: int
) -> None:
    for value in (low, high):
        path = write(tmp_path, f"[md_cache]\n{key} = {value}\nstale_ms_max = 5000")
        assert getattr(load(path, environ={}).md_cache, key) == value
    for value in (low - 1, high + 1, "true", '"100"'):
        (fault,) = faults_of(write(tmp_path, f"[md_cache]\n{key} = {value}"))
        assert f"md_cache.{key} is " in fault
        assert f"at least {low} and at most {high}" in fault


def test_the_share_of_the_cache_of_rest_snapshots_is_from_nothing_to_all(tmp_path: Path) -> None:
    for value in ("0", "0.1", "1"):
        path = write(tmp_path, f"[md_cache]\nshare = {value}")
        assert load(path, environ={}).md_cache.share == float(value)
    for value in ("-0.1", "1.1", "nan", "true", '"0.5"'):
        (fault,) = faults_of(write(tmp_path, f"[md_cache]\nshare = {value}"))
        assert "md_cache.share is " in fault


def test_the_cache_of_rest_snapshots_has_room_for_both_tokens_of_every_market(
    tmp_path: Path,
) -> None:
    text = "[feeds.polymarket]\nmarket_slots = 120\n[md_cache]\nsymbols_max = 239\n"
    (fault,) = faults_of(write(tmp_path, text))
    assert fault == (
        "md_cache.symbols_max is 239: make it at least 240, twice feeds.polymarket.market_slots"
    )
    assert load(write(tmp_path, text + "enabled = false"), environ={}).md_cache.symbols_max == 239
    wide = text.replace("120", "120\nconnection_tokens_max = 240")
    assert "twice feeds.polymarket.market_slots" in faults_of(write(tmp_path, wide))[0]
    wide = text.replace("120", "5000\nconnection_tokens_max = 240")
    assert (
        "md_cache.symbols_max is 239: make it at least 240, feeds.polymarket.connection_tokens_max"
    ) in faults_of(write(tmp_path, wide))
    assert load(write(tmp_path, text.replace("239", "240")), environ={})


def test_faults_of_the_cache_of_rest_snapshots_are_said_together(tmp_path: Path) -> None:
    text = "[md_cache]\nttl_ms = 5\nstale_ms_max = 99\nretry_delay_ms = 9000\ncolour = 1"
    faults = faults_of(write(tmp_path, text))
    assert [fault.split(" is ")[0] for fault in faults] == [
        "md_cache.colour", "md_cache.ttl_ms", "md_cache: retry_delay_ms_max"
    ]  # fmt: skip
    (fault,) = faults_of(write(tmp_path, "[md_cache]\nstale_ms_max = 99"))
    assert fault == "md_cache: stale_ms_max is 99: make it at least ttl_ms, 1000"


@pytest.mark.parametrize("mode", ["0000", "0400", "0660", "0666", "0777", "600", ""])
def test_no_mode_of_segments_locks_their_owner_out_or_lets_others_write(mode: str) -> None:
    (fault,) = faults_of(None, PENSTOCK_HOST_SHM_MODE=mode)
    assert fault.startswith(f"host.shm_mode is {mode!r}: ")
    assert 'write one of "0600", "0640", "0644"' in fault
    for good in ("0600", "0640", "0644"):
        assert load(environ={"PENSTOCK_HOST_SHM_MODE": good}).host.mode == int(good, 8)
