"""A run in a process of its own, as a user starts it, started again where a fault has ended it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.processes import die_with_parent
from orchestrator.chaos.processes import MARK, RunProcesses

_TAIL_BYTES = 1 << 14


class RunProcess:
    """Start ``couplet train`` with these arguments; what it prints goes to ``log``.

    ``folder`` is the run's own, which the arguments name too.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, log: Path) -> None:
        self.folder = folder
        self.log = log
        self._line = [sys.executable, "-m", "orchestrator.commands.main", "train", *arguments, "--plain"]
        self._mark = uuid.uuid4().hex
        self._start()

    def resume(self) -> None:
        """Start the run again from its last checkpoint."""
        self._start("--resume", "auto")

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last start, negative for a signal; None while it runs."""
        return self._process.poll()

    @property
    def pid(self) -> int:
        """Process number of the run's main process."""
        return self._process.pid

    def wait(self, seconds: float) -> int | None:
        """Return the exit code, None where the run goes on after ``seconds``."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def last_words(self) -> str:
        """Return the end of what the run has printed."""
        return _tail(self.log)

    def kill(self) -> None:
        """End the run and all that it has started."""
        self._process.kill()
        self._process.wait()
        self.processes.kill_all()

    def _start(self, *more: str) -> None:
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [*self._line, *more],
                stdout=log,
                stderr=log,
                env={**os.environ, MARK: self._mark},
                start_new_session=True,  # Ctrl-C is for the chaos, which stops the run
                preexec_fn=die_with_parent,
            )
        self.processes = RunProcesses(self._process.pid, self._mark)


class Steps:
    """Follow the steps that a run records in its folder. Call :meth:`poll` often.

    ``now`` is the last step that is recorded now; a learner that falls back to its checkpoint goes back in steps,
    too. ``highest`` is the highest so far, reached at ``risen`` (of time.monotonic).
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "metrics.jsonl"
        self._state = (0, 0)
        self._seconds = 1.0
        self.now = self.highest = 0
        self.risen = self._changed = time.monotonic()

    def poll(self) -> None:
        """Read the last step, if the file has changed."""
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return
        state = (found.st_mtime_ns, found.st_size)
        if state == self._state:
            return
        self._state = state
        last = _last_record(self._file)
        step = int(last.get("step", 0))
        if step != self.now:
            self.now, self._changed = step, time.monotonic()
            self._seconds = max(float(last.get("seconds/step", self._seconds)), 1e-3)
        if step > self.highest:
            self.highest, self.risen = step, self._changed

    def reached(self, step: int, share: float) -> bool:
        """Tell whether ``step`` is recorded, and ``share`` of the next one's time has passed.

        The next step is taken to last as long as the last one did.
        """
        in_it = self.now == step and (time.monotonic() - self._changed) >= share * self._seconds
        return in_it or self.highest > step


def _last_record(file: Path) -> dict[str, Any]:
    """Return the last whole line of a file of JSON lines, which another process may be writing; empty for none."""
    for line in reversed(_tail(file).splitlines()):
        try:
            found = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(found, dict):
            return found
    return {}


def _tail(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, os.fstat(opened.fileno()).st_size - _TAIL_BYTES))
            return opened.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
