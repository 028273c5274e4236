"""The files for containers and the processes there are: one service each, guarded, without root."""

from __future__ import annotations

import re

import pytest

from host.config import load
from host.roles import Part, plan
from tests.system.host_world import ROOT

COMPOSE = (ROOT / "docker-compose.yml").read_text()
PARTS = plan(load(environ={}))


def services() -> dict[str, str]:
    """The text of each service, by name."""
    text = COMPOSE.partition("\nservices:\n")[2].partition("\nvolumes:\n")[0]
    found = re.split(r"^  ([a-z-]+):\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def words_of(part: Part) -> str:
    return ", ".join(("python", *part.command[1:]))


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.role)
def test_every_process_is_one_service_with_its_own_health_check(part: Part) -> None:
    (name,) = (n for n, text in services().items() if f"command: [{words_of(part)}]" in text)
    text = services()[name]
    assert "<<: *process" in text
    assert "<<: *healthcheck" in text
    assert f"test: [CMD, penstock, shm, check, {part.role}]" in text


def test_there_is_no_service_besides_but_tools() -> None:
    others = [text for text in services().values() if "command: [python, -m" not in text]
    assert len(services()) == len(PARTS) + len(others)
    assert all("profiles: [tools]" in text for text in others)


def test_compose_stops_in_the_safe_order() -> None:
    """It stops a service before those it depends on."""
    names = {n: p.role for p in PARTS for n, t in services().items() if f"[{words_of(p)}]" in t}
    depends = {
        names[name]: [names[one] for one in found[1].split(", ")]
        for name, text in services().items()
        if (found := re.search(r"depends_on: \[(.*)\]", text))
    }
    by_stop = {part.role: part.stop_stage for part in PARTS}
    assert set(depends) == {role for role, stage in by_stop.items() if stage < 3}
    for role, after in depends.items():
        assert all(by_stop[other] == by_stop[role] + 1 for other in after)


@pytest.mark.parametrize(
    "line",
    [
        "init: true",
        'user: "10001:10001"',
        "restart: unless-stopped",
        "- shm:/dev/shm",
        'PENSTOCK_HOST_HANG_EXIT_S: "10"',
        "type: tmpfs",
        "o: size=256m,mode=1777",
    ],
)
def test_every_service_gets_what_the_supervisor_and_the_host_give_elsewhere(line: str) -> None:
    assert re.search(rf"^ +{re.escape(line)}$", COMPOSE, re.MULTILINE)


def test_compose_waits_longer_than_a_process_takes_to_halt() -> None:
    grace = re.search(r"stop_grace_period: (\d+)s", COMPOSE)
    assert grace is not None
    assert int(grace[1]) > load(environ={}).supervisor.stop_timeout_s


def test_the_image_runs_without_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    last_stage = lines[max(at for at, line in enumerate(lines) if line.startswith("FROM ")) :]
    assert "USER penstock" in last_stage
    assert not any("gcc" in line for line in last_stage)
