"""A flood on the reward service: many clients at once, half of them hostile, and what the others see of it."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
import statistics
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

_TASK: dict[str, Any] = {
    "id": "add",
    "prompt": "",
    "prefix": "def add(a, b):\n",
    "tests": [{"call": f"add({i}, 2)", "expected": str(i + 2)} for i in range(40)],
}
#: What an honest client sends, with the share of tests that it passes.
_HONEST = (
    ("    return a + b  # {}\n", 1.0),
    ("    return 2 if a == 0 else {}\n", 1 / 40),
    ("    return [{}]\n", 0.0),
)
#: What hostile clients have run; each takes all that it can get.
_HOSTILE = (
    "    while {}: pass\n",
    "    import time; time.sleep({} + 1000)\n",
    "    import os\n    while True: os.write(1, b'{}' * 65536)\n",
    "    import os\n    while True: os.write(3, (1000000).to_bytes(4, 'little') + b'V' + b'{}' * 999999)\n",
    "    return set(range({}, 9000))\n",
    "    kept = [{}]\n    while True: kept.append(bytearray(1 << 24))\n",
    "    import os\n    for pid in range(-1, {}): os.kill(pid, 9)\n",
    "    import os\n    keys = ','.join('[\"i\",\"%s\"]' % hex(k * (2 ** 61 - 1)) for k in range(1, 2000))\n"
    "    body = b'V' + ('[\"s\",%s]' % keys).encode()\n"
    "    while {}: os.write(3, len(body).to_bytes(4, 'little') + body)\n",
    "    import {}" + "a" + ".a" * 45_000 + "\n",
)
#: Bodies of a megabyte, which take long to read and are wrong.
_LARGE = (
    b'{"groups": [{"id": "g", "task": {"id": "t", "prompt": "", "tests": [' + b'{"a":1},' * 100_000 + b"{}]}}]}",
    b'{"groups": [' + b"[]," * 300_000 + b"[]]}",
    b"{" + b",".join(b'"key%d":1' % number for number in range(80_000)) + b"}",
)
_ALIVE_EVERY_S = 0.05
_PATIENCE_S = 300.0
_BUSY = 429
_OK = 200


@dataclass(frozen=True)
class Target:
    """The service: where it listens, its token, and its process."""

    host: str
    port: int
    token: str
    pid: int


@dataclass
class Watched:
    """What was seen from aside: ``alive_s``, ``memory_mb`` and ``wrong`` of :class:`FloodResult`."""

    alive_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@dataclass
class FloodResult:
    """What happened. ``wrong``: verdicts that are not what a program deserves, in words.

    ``late``: honest completions that were excluded. ``alive_s``: how long each question after health took.
    ``memory_mb``: resident, over time.
    """

    clients: int
    seconds: float
    scored: int = 0
    late: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    hostile: dict[str, int] = field(default_factory=dict)
    alive_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    @property
    def late_alive_s(self) -> float:
        """The 99th percentile of the answers of /healthz, seconds."""
        return statistics.quantiles(self.alive_s, n=100)[98] if len(self.alive_s) > 1 else 0.0

    @property
    def growth_mb(self) -> float:
        """Memory of the last quarter above that of the second one, as the first is warming up; medians."""
        quarter = max(len(self.memory_mb) // 4, 1)
        return statistics.median(self.memory_mb[-quarter:]) - statistics.median(
            self.memory_mb[quarter : 2 * quarter] or self.memory_mb
        )


def flood(target: Target, clients: int, seconds: float, seed: int = 0) -> FloodResult:
    """Send for so many seconds, half of the clients hostile, and wait until the honest ones have their answers."""
    return asyncio.run(_Flood(target, FloodResult(clients, seconds), seed).run())


class _Flood:
    def __init__(self, target: Target, result: FloodResult, seed: int) -> None:
        self._target = target
        self._found = result
        self._random = random.Random(seed)
        self._numbers = itertools.count(1_000_000)
        self._over = False

    async def run(self) -> FloodResult:
        hostile: list[tuple[str, Callable[[], Awaitable[object]]]] = [
            ("programs", self._programs),
            ("half-open", self._half_open),
            ("hang up", self._hang_up),
            ("malformed", self._malformed),
            ("large bodies", self._large),
            ("run_code", self._run_code),
        ]
        kinds = itertools.cycle(hostile)
        half = self._found.clients // 2
        work = [self._repeat(self._honest) for _ in range(self._found.clients - half)]
        work += [self._repeat(act, name) for name, act in itertools.islice(kinds, half)]
        working = asyncio.gather(*work)
        # In a process of its own, which does not wait for what the clients do.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            loop = asyncio.get_running_loop()
            seen = await loop.run_in_executor(process, watch, self._target, self._found.seconds)
        self._over = True
        await asyncio.wait_for(working, _PATIENCE_S)
        self._found.alive_s, self._found.memory_mb = seen.alive_s, seen.memory_mb
        self._found.wrong += seen.wrong
        return self._found

    async def _repeat(self, act: Callable[[], Awaitable[object]], name: str = "") -> None:
        while not self._over:
            # A hostile client is cut off at will, and connects again.
            with suppress(OSError, asyncio.IncompleteReadError):
                await act()
            if name:
                self._found.hostile[name] = self._found.hostile.get(name, 0) + 1
            await asyncio.sleep(self._random.random() / 10)

    async def _honest(self) -> None:
        chosen = [self._random.choice(_HONEST) for _ in range(4)]
        texts = [text.format(next(self._numbers)) for text, _ in chosen]
        body = {"groups": [{"id": "g", "task": _TASK, "completions": texts}]}
        status, answer = await self._post("/v1/score", body)
        if status == _BUSY:
            self._found.refused += 1
            await asyncio.sleep(1.0)
            return
        lines = [json.loads(line) for line in answer.splitlines()] if status == _OK else []
        if len(lines) != 2 or "scores" not in lines[0]:
            self._found.wrong.append(f"status {status}: {answer[:200]!r}")
            return
        for text, (_, share), score in zip(texts, chosen, lines[0]["scores"], strict=True):
            self._found.scored += 1
            if score["excluded"]:
                self._found.late += 1
            elif abs(score["components"]["tests"] - share) > 1e-9:
                self._found.wrong.append(f"{text!r}: {score['components']['tests']} instead of {share}")

    async def _programs(self) -> None:
        text = self._random.choice(_HOSTILE).format(next(self._numbers))
        body = {"groups": [{"id": "g", "task": _TASK, "completions": [text]}]}
        status, answer = await self._post("/v1/score", body)
        if status == _OK and '"passed"' in answer:
            self._found.wrong.append(f"{text[:80]!r} passed a test")

    async def _half_open(self) -> None:
        reader, writer = await asyncio.open_connection(self._target.host, self._target.port)
        try:
            for byte in b"POST /v1/score HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"x" * 1000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.5)
                if self._over or reader.at_eof():
                    return
        finally:
            writer.close()

    async def _hang_up(self) -> None:
        text = f"    while {next(self._numbers)}: pass\n"
        body = {"groups": [{"id": "g", "task": _TASK, "completions": [text]}]}
        with suppress(TimeoutError):
            await asyncio.wait_for(self._post("/v1/score", body), self._random.random())

    async def _malformed(self) -> None:
        name = f"/{next(self._numbers)}"
        choices: tuple[tuple[str, Any, str], ...] = (
            ("/v1/score", {"groups": []}, self._target.token),
            ("/v1/score", [[[]]] * 1000, self._target.token),
            (
                "/v1/score",
                {"groups": [{"id": name, "task": _TASK | {"tests": []}, "completions": ["x"]}]},
                name[1:],
            ),
            (name, {}, self._target.token),
        )
        path, body, token = self._random.choice(choices)
        status, _ = await self._post(path, body, token)
        if status == _OK:
            self._found.wrong.append(f"{path} {json.dumps(body)[:80]} was taken")

    async def _large(self) -> None:
        body = self._random.choice(_LARGE)
        status, _ = await self._send("/v1/score", body)
        if status == _OK:
            self._found.wrong.append(f"{body[:80]!r} was taken")

    async def _run_code(self) -> None:
        code = f"x = {next(self._numbers)}\nwhile True: pass\n"
        body = {"code": code, "language": "python", "run_timeout": self._random.choice((1e-7, 0.01, 0.1))}
        status, answer = await self._post("/run_code", body)
        if status == _OK and '"Success"' in answer:
            self._found.wrong.append(f"{code!r} ended well")

    async def _post(self, path: str, body: Any, token: str | None = None) -> tuple[int, str]:
        return await self._send(path, json.dumps(body).encode(), token)

    async def _send(self, path: str, data: bytes, token: str | None = None) -> tuple[int, str]:
        head = (
            f"POST {path} HTTP/1.0\r\nAuthorization: Bearer {self._target.token if token is None else token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        return await self._exchange(head.encode() + data)

    async def _exchange(self, request: bytes) -> tuple[int, str]:
        """Send a request of HTTP/1.0, whose answer ends with the connection; return its status and body."""
        reader, writer = await asyncio.open_connection(self._target.host, self._target.port)
        try:
            writer.write(request)
            await writer.drain()
            answer = await asyncio.wait_for(reader.read(), _PATIENCE_S)
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(maxsplit=2)[1]) if head else 0, body.decode()


def watch(target: Target, seconds: float) -> Watched:
    """Ask the service for its health, and look at its memory, for so many seconds."""
    seen = Watched()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.perf_counter()
        with socket.create_connection((target.host, target.port), timeout=_PATIENCE_S) as client:
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            answer = client.recv(1 << 16)
        seen.alive_s.append(time.perf_counter() - started)
        if b" 200 " not in answer:
            seen.wrong.append(f"/healthz answered {answer[:100]!r}")
        seen.memory_mb.append(_resident_mb(target.pid))
        time.sleep(_ALIVE_EVERY_S)
    return seen


def _resident_mb(pid: int) -> float:
    """Return the memory of a process that lies in RAM, MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise LookupError(f"process {pid} has no VmRSS")
