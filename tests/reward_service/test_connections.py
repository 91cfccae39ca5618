"""Connections that say nothing, and requests that are no use, against a real service with real sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import pytest

from benchmarks.flood import Target, flood
from tests.reward_service.conftest import TOKEN
from tests.reward_service.test_service import GOOD, group
from tests.service_process import PATIENCE_S, ServiceUnderTest, service

_MOST = 30


@pytest.fixture(scope="module")
def small() -> Iterator[ServiceUnderTest]:
    """Room for few connections, with little time for a header, and for short programs."""
    bounds = ("--max-connections", str(_MOST), "--header-seconds", "1")
    with service(*bounds, "reward.cpu_seconds=0.1", "reward.wall_seconds=1", token=TOKEN) as under_test:
        yield under_test


def connect(under_test: ServiceUnderTest, sent: bytes = b"") -> socket.socket:
    address = urlsplit(under_test.url)
    client = socket.create_connection((address.hostname or "", address.port or 0), timeout=PATIENCE_S)
    client.sendall(sent)
    return client


def is_ended(client: socket.socket) -> bool:
    """Whether the service closes the connection; waits for that."""
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize(
    "sent",
    [b"", b"G", b"POST /v1/score HTTP/1.1\r\nHost: x\r\n", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /he"],
    ids=["nothing", "a byte", "half a header", "half of a second header"],
)
def test_a_connection_without_a_whole_header_is_closed(small: ServiceUnderTest, sent: bytes) -> None:
    with connect(small, sent) as client:
        assert is_ended(client)


def test_a_header_that_comes_byte_by_byte_is_no_longer_in_time(small: ServiceUnderTest) -> None:
    ended = threading.Event()
    with connect(small, b"GET / HTTP/1.1\r\nX-Slow: ") as client:

        def trickle() -> None:
            with contextlib.suppress(OSError):
                while not ended.wait(0.1):
                    client.sendall(b"x")

        sender = threading.Thread(target=trickle)
        sender.start()
        assert is_ended(client)
        ended.set()
        sender.join()


def test_half_open_connections_keep_nobody_out(small: ServiceUnderTest) -> None:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connect(small, b"POST ")) for _ in range(4 * _MOST)]
        assert small.client.get("/healthz").status_code == 200
        assert small.score(group("g", GOOD))[0]["scores"][0]["reward"] == 2.5
        assert all(map(is_ended, silent))


def test_a_run_has_bounds_and_costs_no_slot(small: ServiceUnderTest) -> None:
    restarts = small.metric("couplet_scoring_slot_restarts")
    program: dict[str, Any] = {"code": "while True: pass", "language": "python"}
    for field, value in (("run_timeout", 1e-7), ("run_timeout", 0), ("run_timeout", 1e9), ("memory_limit_MB", 1)):
        refused = small.client.post("/run_code", json=program | {field: value})
        assert (refused.status_code, refused.json()["error"]["field"]) == (422, field)
    for fields in ({"run_timeout": 0.01}, {"run_timeout": 0.1, "memory_limit_MB": 16}):
        found = small.client.post("/run_code", json=program | fields).json()
        assert found["run_result"]["status"] == "TimeLimitExceeded"
    assert small.metric("couplet_scoring_slot_restarts") == restarts


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tests": []}, "tests: is empty"),
        ({"shown_tests": 3}, "shown_tests: is 3 of 2"),
        ({"tests": [{"call": "add(", "expected": "1"}]}, "tests.0.call: is not Python"),
        ({"tests": [{"call": "", "expected": "1"}]}, "tests.0.call: is empty"),
        ({"tests": [{"call": "add(1, 2)"}]}, "tests.0.expected: is missing"),
        ({"tests": [{"kind": "stdin", "stdin": "1"}]}, "tests.0.expected: is missing"),
        ({"tests": [{"call": "add(1, 2)", "expected": "three"}]}, "tests.0.expected: is not a Python literal"),
        (
            {"tests": [{"kind": "script", "script": "assert add(1, 2) == 3"}], "reference": GOOD},
            "exports: is empty",
        ),
        ({"exports": ["1add"]}, "exports: '1add' is no name"),
        ({"test_setup": "def"}, "test_setup: is not Python"),
    ],
)
def test_a_task_that_score_refuses_is_refused(small: ServiceUnderTest, changes: dict[str, Any], told: str) -> None:
    refused, fine, _ = small.score(group("bad", GOOD, **changes), group("good", GOOD))
    by_id = {line["id"]: line for line in (refused, fine)}
    assert told in by_id["bad"]["error"]
    assert by_id["good"]["scores"][0]["reward"] == 2.5


def test_what_clients_send_names_no_series(small: ServiceUnderTest) -> None:
    def series() -> set[str]:
        lines = small.client.get("/metrics").text.splitlines()
        return {line.rpartition(" ")[0] for line in lines if line.startswith("couplet_reward_http_requests")}

    small.client.get("/first")
    small.score(group("g", GOOD))
    before = series()
    for number in range(20):
        small.client.get(f"/v1/score/{number}")
        small.client.get("/v1/score?x=" + "y" * number)
        small.client.post(f"/run_code{number}", json={})
        small.score(group(f"unheard-of-{number}", GOOD, id=f"task-{number}", family=f"family-{number}"))
    text = small.client.get("/metrics").text
    assert not any(word in text for word in ("unheard-of", "task-", "family-", "run_code1"))
    assert {name.partition("status")[0] for name in series()} == {name.partition("status")[0] for name in before}


def test_a_flood_changes_no_verdict(small: ServiceUnderTest) -> None:
    address = urlsplit(small.url)
    target = Target(address.hostname or "", address.port or 0, TOKEN, small.process.pid)
    found = flood(target, clients=20, seconds=3.0)
    assert found.wrong == []
    assert found.scored > 0
    assert len(found.hostile) == 6
    assert json.loads(json.dumps(asdict(found)))["hostile"] == found.hostile
    assert small.client.get("/readyz").status_code == 200
