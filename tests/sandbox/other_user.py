"""A sandbox that an ordinary user runs, used from a test that runs as root. Standard library only.

The server half runs as that user, as the module ``other_user`` on copies of this file and of the package that they
may read. It owns the jail; only classes of ``sandbox.types`` cross, pickled, between two processes that trust each
other.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox.cancellation import Cancellation
from sandbox.jail.backend import JailSandbox
from sandbox.jail.probe import Level
from sandbox.types import Budget, CaseRun, Limits, Program, SandboxUnavailable

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent.parent / "sandbox"
COMMON = HERE.parent.parent / "common"
NEEDED = ("errors.py", "language.py")  # all that the package's jail needs of other rooms
ORDINARY_ID = 54321
DEADLINE_S = 120
_SERVE = "import sys; sys.path.insert(0, sys.argv[1]); import other_user; other_user.serve(sys.argv[2])"


class OrdinaryUser:
    """A folder with what an ordinary user needs to use the package; removed at the end."""

    def __init__(self, python: str) -> None:
        self.python = python
        self.folder = tempfile.mkdtemp(prefix="couplet-test-")
        os.chmod(self.folder, 0o755)
        shutil.copytree(PACKAGE, f"{self.folder}/sandbox", ignore=shutil.ignore_patterns("__pycache__"))
        os.mkdir(f"{self.folder}/common")
        for name in NEEDED:
            shutil.copy(COMMON / name, f"{self.folder}/common")
        shutil.copy(__file__, self.folder)
        for path in Path(self.folder).rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)

    def popen(self, code: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self.python, "-B", "-c", code, self.folder, *arguments],
            user=ORDINARY_ID,
            group=ORDINARY_ID,
            extra_groups=[],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class OrdinaryUsersSandbox:
    """Implements :class:`sandbox.types.Sandbox` with one slot. Raises SandboxUnavailable where that cannot be."""

    slots = 1

    def __init__(self, level: str, python: str) -> None:
        self._user = OrdinaryUser(python)
        self._process = self._user.popen(_SERVE, level)
        self._described: dict[str, Any] = self._receive()
        if "unavailable" in self._described:
            self.close()
            raise SandboxUnavailable(self._described["unavailable"])

    @property
    def pid(self) -> int:
        """Of the process that holds the sandbox."""
        return self._process.pid

    def slot_pids(self) -> list[int]:
        pids: list[int] = self._described["pids"]
        return pids

    def run(
        self,
        program: Program,
        limits: Limits,
        *,
        stop_on: Callable[[CaseRun], bool] | None = None,
        budget: Budget | None = None,
        cancellation: Cancellation | None = None,
    ) -> list[CaseRun]:
        assert stop_on is None, "a function does not cross"
        assert self._process.stdin is not None
        pickle.dump((program, limits, budget), self._process.stdin)
        self._process.stdin.flush()
        runs, self._described = self._receive()
        return list(runs)

    def describe(self) -> dict[str, Any]:
        return self._described

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=DEADLINE_S)
        self._process.stdout.close()
        self._user.remove()

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        watchdog = threading.Timer(DEADLINE_S, self._process.kill)
        watchdog.start()
        try:
            return pickle.load(self._process.stdout)
        finally:
            watchdog.cancel()
            watchdog.join()


def slot_pids(sandbox: Any) -> list[int]:
    """Return the first process of every slot that a jail sandbox has started."""
    return [slot.pid for slot in sandbox.live_slots()]


def serve(level: str) -> None:
    """Answer requests on stdin until the other side closes it."""
    try:
        sandbox = JailSandbox(1, levels=[Level(level)])
    except SandboxUnavailable as error:
        _send({"unavailable": str(error)})
        return
    with sandbox:
        _send(sandbox.describe() | {"pids": []})
        while True:
            try:
                program, limits, budget = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            runs = sandbox.run(program, limits, budget=budget)
            _send((runs, sandbox.describe() | {"pids": slot_pids(sandbox)}))


def _send(message: object) -> None:
    pickle.dump(message, sys.stdout.buffer)
    sys.stdout.buffer.flush()
