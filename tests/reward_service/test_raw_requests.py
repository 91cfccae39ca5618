"""What no HTTP library sends, against a real service with real sockets: each is refused, and others are served."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.reward_service.conftest import TOKEN
from tests.reward_service.test_service import GOOD, group
from tests.service_process import PATIENCE_S, ServiceUnderTest, service

_MOST = 30
_HEAD = (
    f"POST /run_code HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
)
_PROGRAM = '{"code": "print(1)", "language": "python"}'
_SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
_ALIVE = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
_LAST = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def bounded() -> Iterator[ServiceUnderTest]:
    """Room for few connections and for bodies of 1 MiB, with a second for a header."""
    bounds = ("--max-connections", str(_MOST), "--header-seconds", "1", "--max-body-mb", "1")
    with service(*bounds, "reward.hacking_probe=0", token=TOKEN) as under_test:
        yield under_test


def connect(under_test: ServiceUnderTest) -> socket.socket:
    address = urlsplit(under_test.url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=PATIENCE_S)


def answer(client: socket.socket, sent: bytes) -> bytes:
    """Send as much as the service takes, and return what it says until it closes the connection."""
    said = b""
    with contextlib.suppress(ConnectionError):
        client.sendall(sent)
    with contextlib.suppress(ConnectionError):
        while more := client.recv(1 << 16):
            said += more
    return said


def first_words(client: socket.socket) -> bytes:
    """Return what the service says first, nothing where it closes the connection."""
    with contextlib.suppress(ConnectionError):
        return client.recv(1 << 16)
    return b""


def statuses(said: bytes) -> list[int]:
    return [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]]


def assert_serves(under_test: ServiceUnderTest) -> None:
    assert under_test.client.get("/healthz").status_code == 200
    assert under_test.score(group("g", GOOD))[0]["scores"][0]["reward"] == 2.5


_NOT_HTTP = {
    "a long header": "GET / HTTP/1.1\r\nHost: x\r\nX: " + "x" * 200_000 + "\r\n\r\n",
    "a long path": "GET /" + "x" * 200_000 + " HTTP/1.1\r\nHost: x\r\n\r\n",
    "many headers": "GET / HTTP/1.1\r\nHost: x\r\n" + "X: y\r\n" * 50_000 + "\r\n",
    "a header without end": "GET / HTTP/1.1\r\nHost: x\r\nX: " + "x" * 200_000,
    "no host": "GET / HTTP/1.1\r\n\r\n",
    "two hosts": "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "no version": "GET /\r\n\r\n",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\x00" * 500,
    "a zero byte": "GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    "a blank in a header's name": "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "a length below zero": _HEAD + "Content-Length: -1\r\n\r\n" + _SMUGGLED,
    "a length with a sign": _HEAD + "Content-Length: +5\r\n\r\n12345" + _SMUGGLED,
    "a length in words": _HEAD + "Content-Length: five\r\n\r\n12345" + _SMUGGLED,
    "two lengths": _HEAD + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456" + _SMUGGLED,
    "a list of lengths": _HEAD + "Content-Length: 5, 6\r\n\r\n123456" + _SMUGGLED,
    "an unknown coding": _HEAD + "Transfer-Encoding: xchunked\r\n\r\n" + _SMUGGLED,
    "two codings": _HEAD + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + _SMUGGLED,
    "a coding twice": _HEAD
    + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + _SMUGGLED,
    "a chunk's size in words": _HEAD + "Transfer-Encoding: chunked\r\n\r\nfive\r\n12345\r\n0\r\n\r\n" + _SMUGGLED,
    "a chunk's size below zero": _HEAD + "Transfer-Encoding: chunked\r\n\r\n-5\r\n12345\r\n0\r\n\r\n" + _SMUGGLED,
    "a chunk that is longer": _HEAD + "Transfer-Encoding: chunked\r\n\r\n1\r\n12345\r\n0\r\n\r\n" + _SMUGGLED,
}


@pytest.mark.parametrize("name", _NOT_HTTP)
def test_what_is_no_request_is_refused_and_nothing_after_it_is_read(bounded: ServiceUnderTest, name: str) -> None:
    with connect(bounded) as client:
        said = answer(client, _NOT_HTTP[name].encode("latin-1"))
    assert statuses(said) in ([], [400]), said
    assert bounded.client.get("/healthz").status_code == 200


def test_a_request_in_the_body_of_another_is_not_answered(bounded: ServiceUnderTest) -> None:
    """Both a length and chunks: the chunks count, as RFC 9112 has it, and the length hides nothing."""
    chunk = f"{len(_PROGRAM):x}\r\n{_PROGRAM}\r\n0\r\n\r\n"
    both = _HEAD + f"Content-Length: {len(chunk) + len(_SMUGGLED)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect(bounded) as client:
        # Whoever went by the length would take the second request for a part of the body.
        assert statuses(answer(client, (both + chunk + _SMUGGLED + _LAST).encode())) in ([400], [200, 401, 200])
    inside = _HEAD + f"Content-Length: {len(_SMUGGLED)}\r\n\r\n" + _SMUGGLED + _LAST
    with connect(bounded) as client:
        assert statuses(answer(client, inside.encode())) == [422, 200]


def test_many_requests_at_once_are_answered_in_turn(bounded: ServiceUnderTest) -> None:
    missing = f"GET /nothing HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    with connect(bounded) as client:
        said = answer(client, ((_ALIVE + missing) * 200 + _LAST).encode())
    assert statuses(said) == [200, 404] * 200 + [200]


@pytest.mark.parametrize("size", [1 << 12, 1 << 20, 1 << 60], ids=["small", "of the limit", "vast"])
def test_chunks_without_end_are_refused_at_the_limit(bounded: ServiceUnderTest, size: int) -> None:
    head = _HEAD + "Transfer-Encoding: chunked\r\n\r\n"
    piece = b"x" * min(size, 1 << 20)
    chunks = 2 * (1 << 20) // len(piece) if size <= 1 << 20 else 2
    with connect(bounded) as client:
        said = answer(client, head.encode() + b"".join(b"%x\r\n%b\r\n" % (size, piece) for _ in range(chunks)))
    assert statuses(said) in ([413], []), said
    assert_serves(bounded)


def test_bodies_that_do_not_come_hold_nobody_up(bounded: ServiceUnderTest) -> None:
    length = "Content-Length: 1000\r\n\r\n{"
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(bounded)) for _ in range(_MOST // 2)]
        for client in slow:
            client.sendall((_HEAD + "Expect: 100-continue\r\n" + length).encode())
            assert statuses(first_words(client)) == [100], "the service waits for the body"
        strangers = [stack.enter_context(connect(bounded)) for _ in range(_MOST)]
        for client in strangers:
            client.sendall((_HEAD.replace(TOKEN, "wrong") + length).encode())
        for client in strangers:
            assert statuses(first_words(client)) in ([401], []), "without a token nothing of a body is waited for"
        assert_serves(bounded)
        for client in slow:
            client.shutdown(socket.SHUT_WR)
            assert statuses(answer(client, b"")) in ([], [400]), "the rest cannot come any more"


def test_1300_connections_are_no_more_than_there_may_be(bounded: ServiceUnderTest) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 2048), hard), hard))
    try:
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(connect(bounded)) for _ in range(1300)]
            assert_serves(bounded)
            assert all(statuses(answer(client, b"")) == [] for client in silent)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert_serves(bounded)
    assert not any("Traceback" in line for line in bounded.printed)
