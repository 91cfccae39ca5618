"""The default backend: a pool of fork servers, each in a jail of its own on this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sandbox.jail.probe import STRONGEST_FIRST, Level, probe
from sandbox.jail.slot import JailSlot, Libraries
from sandbox.pool import SlotPool


class JailSandbox(SlotPool):
    """Implements :class:`sandbox.types.Sandbox`.

    ``minimum_level``: raise SandboxUnavailable instead of running below it. ``python``: the interpreter programs
    run with (default: this one). ``packages``: a site-packages folder of that interpreter
    that they may import from; ``preload``: modules of it to import once, before any program runs.
    """

    def __init__(
        self,
        slots: int = 1,
        *,
        minimum_level: Level | str = Level.UID,
        python: str | None = None,
        packages: Path | None = None,
        preload: Sequence[str] = (),
        levels: Sequence[Level] = STRONGEST_FIRST,
        slot_wait_s: float = 600.0,
    ) -> None:
        libraries = Libraries.at(packages, preload)
        self._probe = probe(python, levels, libraries)
        self._level = self._probe.require(Level(minimum_level))
        self._python = python or sys.executable
        super().__init__(lambda: JailSlot(self._level, self._python, libraries), slots, slot_wait_s=slot_wait_s)

    def describe(self) -> dict[str, Any]:
        return {
            "backend": "jail",
            "level": str(self._level),
            **super().describe(),
            "refused": {str(level): reason for level, reason in self._probe.refused.items()},
            **{key: value for key, value in self._probe.facts.items() if key != "level"},
        }
