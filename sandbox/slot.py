"""One slot, seen from the host: start a jail, ask it one thing at a time, kill it."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import identity, launcher, protocol

START_S = 30.0
_SEND_S = 30.0
_END_FIELDS: dict[str, type | tuple[type, ...]] = {
    "why": str,
    "status": int,
    "cpu": (int, float),
    "wall": (int, float),
    "peak_kb": int,
    "marks": list,
}


class SlotError(RuntimeError):
    """The slot cannot be used any more."""


class SetupError(SlotError):
    """The slot could not prepare the jail of one program; nothing hostile ran."""


@dataclass
class Answer:
    """Everything a slot said about one fork. Only ``end`` is trusted; the rest was written by the program."""

    stdout: bytes
    stderr: bytes
    results: list[tuple[bytes, bytes]]
    end: dict[str, Any]


class Slot:
    """Start with the constructor, from a thread that outlives the slot: it dies with that thread."""

    def __init__(self, level: str, python: str) -> None:
        """Raises SlotError with a one-line reason."""
        self._buffer = bytearray()
        try:
            self._claim = identity.claim()
        except OSError as error:
            raise SlotError(str(error)) from error
        self._folder = self._make_folder() if level == "uid" else None
        config = {
            "level": level,
            "parent": os.getpid(),
            "runner_uid": self._claim.runner_uid,
            "child_uid": self._claim.child_uid,
        }
        if self._folder is not None:
            config["folder"] = self._folder
        import_from = str(Path(__file__).resolve().parent.parent)
        boot = launcher.BOOT.format("launcher")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill()
        self._process = subprocess.Popen(
            [python, *launcher.INTERPRETER_FLAGS, "-c", boot, import_from, json.dumps(config)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd="/",
            env={},
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._to, False)
        os.set_blocking(self._from, False)
        try:
            self.hello = self._receive_hello()
        except SlotError:
            self.kill()
            raise

    def _make_folder(self) -> str:
        folder = tempfile.mkdtemp(prefix="couplet-sandbox-")
        os.chown(folder, self._claim.child_uid, self._claim.child_uid)
        return folder

    def _receive_hello(self) -> dict[str, Any]:
        try:
            kind, body = self._receive(time.monotonic() + START_S)
        except SlotError as error:
            self._errors.seek(0)
            last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
            raise SlotError(f"{error}: {last[0]}" if last else str(error)) from error
        hello = _json_object(body)
        if kind != protocol.HELLO or "error" in hello:
            raise SlotError(str(hello.get("error", "no greeting")))
        return hello

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, header: dict[str, Any], payload: bytes, stdin: bytes, deadline_s: float) -> Answer:
        """Raises SlotError when the slot is late, gone or incoherent; then it must be killed."""
        head = json.dumps(header).encode()
        sizes = protocol.REQUEST.pack(len(head), len(payload), len(stdin))
        self._send(sizes + head + payload + stdin)
        limit = int(header["limits"]["out_bytes"]) + protocol.RESULT_SLACK
        room = limit * (int(header["results"]) + 1) + 2 * protocol.CHUNK
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
        end = _checked_end(_json_object(body))
        if end["why"] == "setup":
            reason = bytes(parts[protocol.STDERR][-protocol.NOTE_BYTES :]).decode(errors="replace")
            raise SetupError(reason or "setup failed")
        return Answer(
            stdout=bytes(parts[protocol.STDOUT]),
            stderr=bytes(parts[protocol.STDERR]),
            results=protocol.split_results(bytes(parts[protocol.RESULT])),
            end=end,
        )

    def terminate(self) -> None:
        """End the jail and everything in it; an :meth:`ask` in progress raises SlotError. Any thread may."""
        self._process.kill()

    def kill(self) -> None:
        """:meth:`terminate`, and release what the host holds for the slot. Safe to call twice."""
        self.terminate()
        self._process.wait(timeout=START_S)
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()
        self._claim.release()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

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
            self._buffer += data
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _wait(self, fd: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(fd, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise SlotError("the runner missed its deadline")


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise SlotError(f"malformed frame from the runner: {error}") from error
    if not isinstance(value, dict):
        raise SlotError("malformed frame from the runner")
    return value


def _checked_end(end: dict[str, Any]) -> dict[str, Any]:
    if any(not isinstance(end.get(name), kind) for name, kind in _END_FIELDS.items()):
        raise SlotError("malformed end frame from the runner")
    return end
