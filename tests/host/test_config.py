"""host/config.py: layers, faults reported together, secrets kept out, the manual complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from host.config import DEFAULT_PATH, ConfigError, describe, effective, keys, load, mask, secret


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
        """,
    )
    text = "\n".join(faults_of(path, PENSTOCK_SIM_PROT="1"))
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
        "supervisor: restart_delay_ms_max is 1: make it at least",
        "PENSTOCK_SIM_PROT in the environment sets no key, or write PENSTOCK_SIM_PORT",
    ):
        assert part in text


def test_a_value_in_the_place_of_a_section_is_a_fault(tmp_path: Path) -> None:
    assert "host is 3: make it a section, [host]" in faults_of(write(tmp_path, "host = 3"))


def test_an_unreadable_or_malformed_file_is_a_fault(tmp_path: Path) -> None:
    assert "name a file that exists" in faults_of(tmp_path / "absent.toml")[0]
    assert "is not TOML" in faults_of(write(tmp_path, "[host"))[0]


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
    assert set(shown) == {".".join(path) for path in keys()}


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
    assert set(written) == {".".join(path) for path in keys()}
    short = [key for key, text in written.items() if len(text) < 20]
    assert not short, f"give these keys of penstock.toml a paragraph directly above: {short}"


def test_a_range_can_be_said_in_words() -> None:
    assert describe(bool) == "write true or false"
    assert describe(tuple[str, ...]).startswith("write a list")
    assert describe(int) == "write a whole number"
