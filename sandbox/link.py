"""The host's end of the byte stream to one runner: one request at a time; what it relays is not trusted."""

from __future__ import annotations

import json
import marshal
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from sandbox.inside import protocol

START_S = 30.0
_SEND_S = 30.0


class SlotError(RuntimeError):
    """The slot cannot be used any more."""


class LateError(SlotError):
    """The runner missed its deadline. It ends programs that miss theirs, so this is the machine's failure."""


class SetupError(SlotError):
    """The slot could not isolate a process for one program; nothing hostile ran."""


@dataclass
class Answer:
    """The answer of a slot to one request. Only ``end`` is trusted; the rest was written by the program."""

    stdout: bytes
    stderr: bytes
    results: list[tuple[bytes, bytes]]
    end: protocol.End


class Slot(Protocol):
    """One isolated runner. Whoever starts one must :meth:`kill` it."""

    @property
    def hello(self) -> dict[str, Any]:
        """The facts that the runner reported when it was ready."""
        ...

    def ask(self, header: dict[str, Any], payload: bytes, given: bytes, deadline_s: float) -> Answer:
        """Run one request. Raises SlotError when the slot is late, gone or incoherent; then it must be killed."""
        ...

    def ask_each(
        self,
        header: dict[str, Any],
        payload: bytes,
        given: bytes,
        deadline_s: float,
        heard: Callable[[Answer], bool],
    ) -> None:
        """Run a request of several inputs, and hand the answer to each as it comes to ``heard``.

        The last one may come before the last input. Where the request is stepwise, no further process is started
        once ``heard`` returns False. ``deadline_s`` is that of each answer. Raises SlotError as :meth:`ask` does.
        """
        ...

    def terminate(self) -> None:
        """End the runner and all it started; an :meth:`ask` in progress raises SlotError. Any thread may."""
        ...

    def kill(self) -> None:
        """:meth:`terminate`, and release what the host holds for the slot. Safe to call twice."""
        ...


class Link:
    """Speaks the protocol over two descriptors, which may be one socket and stay the caller's to close.

    ``unwrap`` takes off what a transport wraps around the bytes.
    """

    def __init__(self, write_fd: int, read_fd: int, unwrap: Callable[[bytes], bytes] = bytes) -> None:
        self._to, self._from = write_fd, read_fd
        self._unwrap = unwrap
        self._buffer = bytearray()
        os.set_blocking(write_fd, False)
        os.set_blocking(read_fd, False)

    def receive_hello(self) -> dict[str, Any]:
        """Wait for the greeting. Raises SlotError with the runner's reason when it refuses to start."""
        kind, body = self._receive(time.monotonic() + START_S)
        hello = _json_object(body)
        if kind != protocol.HELLO or "error" in hello:
            raise SlotError(str(hello.get("error", "no greeting")))
        return hello

    def ask(self, header: dict[str, Any], payload: bytes, given: bytes, deadline_s: float) -> Answer:
        """Run one request. Raises SlotError when the slot is late, gone or incoherent; then it must be killed."""
        self._request(header, payload, given)
        return self._answer(header, deadline_s)

    def ask_each(
        self,
        header: dict[str, Any],
        payload: bytes,
        given: bytes,
        deadline_s: float,
        heard: Callable[[Answer], bool],
    ) -> None:
        """Run a request of several inputs as :meth:`Slot.ask_each` says."""
        self._request(header, payload, given)
        while True:
            answer = self._answer(header, deadline_s)
            goes_on = heard(answer)
            if answer.end.last:
                return
            if header["stepwise"]:
                self._send(protocol.GO_ON if goes_on else protocol.STOP)
                if not goes_on:
                    return

    def _request(self, header: dict[str, Any], payload: bytes, given: bytes) -> None:
        head = marshal.dumps(header)
        sizes = protocol.REQUEST.pack(len(head), len(payload), len(given))
        self._send(sizes + head + payload + given)

    def _answer(self, header: dict[str, Any], deadline_s: float) -> Answer:
        limit = int(header["limits"]["out_bytes"]) + protocol.RESULT_SLACK
        room = min(limit * (int(header["results"]) + 1), header["budget"][2]) + 2 * protocol.CHUNK
        parts = {kind: bytearray() for kind in (protocol.STDOUT, protocol.STDERR, protocol.RESULT)}
        deadline = time.monotonic() + deadline_s
        while True:
            kind, body = self._receive(deadline)
            if kind == protocol.END:
                break
            room -= len(body)
            if kind not in parts or room < 0:
                raise SlotError("unexpected data from the runner")
            parts[kind] += body
        try:
            end = protocol.End.decode(body)
        except ValueError as error:
            raise SlotError(f"malformed end frame from the runner: {error}") from error
        if end.why == "setup":
            reason = bytes(parts[protocol.STDERR][-protocol.NOTE_BYTES :]).decode(errors="replace")
            raise SetupError(reason or "setup failed")
        if end.why == "left":
            raise SlotError("the program left something that could not be swept")
        return Answer(
            stdout=bytes(parts[protocol.STDOUT]),
            stderr=bytes(parts[protocol.STDERR]),
            results=protocol.split_results(parts[protocol.RESULT]),
            end=end,
        )

    def _send(self, data: bytes) -> None:
        deadline = time.monotonic() + _SEND_S
        rest = memoryview(data)
        while rest:
            self._wait(self._to, select.POLLOUT, deadline)
            try:
                rest = rest[os.write(self._to, rest) :]
            except BlockingIOError:
                continue
            except (OSError, ValueError) as error:
                raise SlotError(f"the runner is gone: {error}") from error

    def _receive(self, deadline: float) -> tuple[int, bytes]:
        header = self._receive_exactly(protocol.FRAME.size, deadline)
        kind, size = protocol.FRAME.unpack(header)
        control = kind in (protocol.HELLO, protocol.END)
        if size > (protocol.MAX_CONTROL if control else protocol.CHUNK):
            raise SlotError("oversized frame from the runner")
        return kind, self._receive_exactly(size, deadline)

    def _receive_exactly(self, size: int, deadline: float) -> bytes:
        while len(self._buffer) < size:
            self._wait(self._from, select.POLLIN, deadline)
            try:
                data = os.read(self._from, protocol.CHUNK)
            except BlockingIOError:
                continue
            except (OSError, ValueError) as error:
                raise SlotError(f"the runner is gone: {error}") from error
            if not data:
                raise SlotError("the runner is gone")
            self._buffer += self._unwrap(data)
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _wait(self, fd: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(fd, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise LateError("the runner missed its deadline")


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise SlotError(f"malformed frame from the runner: {error}") from error
    if not isinstance(value, dict):
        raise SlotError("malformed frame from the runner")
    return value
