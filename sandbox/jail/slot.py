"""A slot of the jail backend, seen from the host: a jail on this machine that is started, asked and killed."""

from __future__ import annotations

import importlib.machinery
import itertools
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Self

from sandbox import identity
from sandbox.inside import launcher, sweep
from sandbox.jail.cgroups import Cgroup, CgroupsUnavailable
from sandbox.languages import node_program
from sandbox.link import START_S, Answer, Link, SlotError
from sandbox.types import SandboxUnavailable

_TASKS = 256  # of the launcher, the runner and two programs with 64 each
_RUNNER_MB = 128
_REMOVE_S = 5.0
_REMOVE_STEP_S = 0.01
_log = logging.getLogger(__name__)
_numbers = itertools.count()


@dataclass(frozen=True)
class Libraries:
    """A site-packages folder that programs may import from, and what is imported once, before any program runs."""

    folder: str = ""
    preload: tuple[str, ...] = ()

    @classmethod
    def at(cls, packages: Path | None, preload: Sequence[str]) -> Self:
        """Take them from a folder. Raises SandboxUnavailable for what programs could not see."""
        folder = "" if packages is None else str(packages.resolve())
        if packages is not None and not packages.is_dir():
            raise SandboxUnavailable(f"packages: {packages} is no folder; name a site-packages folder")
        if packages is not None and packages.resolve().is_relative_to("/tmp"):
            raise SandboxUnavailable(f"packages: {packages} is under /tmp, where programs see theirs; move it")
        for name in preload:
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names:
                continue
            if not folder or importlib.machinery.PathFinder.find_spec(top, [folder]) is None:
                where = f"in {packages}" if folder else "in the standard library; name packages that have it"
                raise SandboxUnavailable(f"preload: there is no module {name} {where}")
        return cls(folder, tuple(preload))


class JailSlot:
    """A jail with its runner. The constructor starts it; it dies with the thread that did."""

    def __init__(self, level: str, python: str, libraries: Libraries) -> None:
        """Start the jail. Raises SlotError with a one-line reason."""
        self._claim: identity.Claim | None = None
        self._cgroup: Cgroup | None = None
        self._folder: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        try:
            self._link, cgroups = self._start(level, python, libraries)
            self._hello = {**self._receive_hello(), "cgroups": cgroups}
        except OSError as error:
            self.kill()
            raise SlotError(str(error)) from error
        except SlotError:
            self.kill()
            raise

    def _start(self, level: str, python: str, libraries: Libraries) -> tuple[Link, str]:
        """Start the process; return the link to its runner and its control groups. Raises OSError."""
        self._claim = identity.claim()
        self._cgroup, cgroups = _make_cgroup()
        config = {
            "level": level,
            "parent": os.getpid(),
            "runner_uid": self._claim.runner_uid,
            "child_uid": self._claim.child_uid,
            "packages": [libraries.folder] if libraries.folder else [],
            "preload": libraries.preload,
            "node": node_program(),
            "cgroups": [] if self._cgroup is None else self._cgroup.procs_files(),
        }
        if level == "uid":
            self._folder = config["folder"] = tempfile.mkdtemp(prefix="couplet-sandbox-")
            # A program may use the folder, but not set its times, by which the runner sees that nobody did.
            os.chown(self._folder, -1, self._claim.child_uid)
            os.chmod(self._folder, 0o1770)
        import_from = str(Path(launcher.__file__).resolve().parents[2])
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
        return Link(self._process.stdin.fileno(), self._process.stdout.fileno()), cgroups

    @property
    def hello(self) -> dict[str, Any]:
        return self._hello

    @property
    def pid(self) -> int:
        """The id of the slot's first process."""
        assert self._process is not None
        return self._process.pid

    def ask(self, header: dict[str, Any], payload: bytes, given: bytes, deadline_s: float) -> Answer:
        self._bound_memory(header)
        return self._link.ask(header, payload, given, deadline_s)

    def ask_each(
        self,
        header: dict[str, Any],
        payload: bytes,
        given: bytes,
        deadline_s: float,
        heard: Callable[[Answer], bool],
    ) -> None:
        self._bound_memory(header)
        self._link.ask_each(header, payload, given, deadline_s, heard)

    def terminate(self) -> None:
        if self._process is not None:
            self._process.kill()

    def kill(self) -> None:
        self.terminate()
        if self._process is not None:
            self._process.wait(timeout=START_S)
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
        if self._errors is not None:
            self._errors.close()
        if self._cgroup is not None:
            _retry(self._cgroup.remove)
        if self._folder is not None and os.path.isdir(self._folder):
            _retry(partial(_remove, self._folder))
        if self._claim is not None:
            self._claim.release()

    def _bound_memory(self, header: dict[str, Any]) -> None:
        if self._cgroup is not None:
            try:
                self._cgroup.allow(_memory_bytes(header["limits"]))
            except OSError as error:
                raise SlotError(f"cannot bound the slot's memory: {error}") from error

    def _receive_hello(self) -> dict[str, Any]:
        try:
            return self._link.receive_hello()
        except SlotError as error:
            assert self._errors is not None
            self._errors.seek(0)
            last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
            raise SlotError(f"{error}: {last[0]}" if last else str(error)) from error


def _remove(folder: str) -> None:
    sweep.empty(folder)
    os.rmdir(folder)


def _retry(removal: Callable[[], None]) -> None:
    """Retry a removal: programs outlive their dead server by a moment, and hold what they use."""
    deadline = time.monotonic() + _REMOVE_S
    while True:
        try:
            return removal()
        except OSError as error:
            if time.monotonic() > deadline:
                _log.warning("left behind by a slot of the sandbox: %s", error)
                return None
            time.sleep(_REMOVE_STEP_S)


def _make_cgroup() -> tuple[Cgroup | None, str]:
    """Make the slot's control group where the machine offers one; return it with its version or the reason."""
    try:
        made = Cgroup(next(_numbers), _TASKS)
        return made, f"v{made.version}"
    except CgroupsUnavailable as error:
        return None, f"none: {error}"


def _memory_bytes(limits: dict[str, Any]) -> int:
    """Add up two programs, their files, and the runner that they are forked from, in bytes."""
    return (2 * (int(limits["memory_mb"]) + int(limits["file_mb"])) + _RUNNER_MB) << 20
