"""Probes which isolation this machine offers by starting a slot at each level."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sandbox import self_test
from sandbox.jail.slot import JailSlot, Libraries
from sandbox.link import SlotError
from sandbox.types import SandboxUnavailable


class Level(StrEnum):
    """Isolation, weakest first.

    ``uid``: root without namespaces: another uid, seccomp, Landlock, rlimits, a sweep after each program.
    ``namespaces``: an ordinary user's namespaces; programs run without capabilities under that user's id.
    ``jail``: root's namespaces with ids of their own.
    """

    UID = "uid"
    NAMESPACES = "namespaces"
    JAIL = "jail"

    @property
    def rank(self) -> int:
        return list(Level).index(self)


STRONGEST_FIRST = tuple(reversed(Level))
_NO_LIBRARIES = Libraries()


@dataclass(frozen=True)
class Probe:
    """The result of a probe: the strongest level that works, if any, and why each stronger one does not."""

    level: Level | None
    refused: dict[Level, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def require(self, minimum: Level) -> Level:
        """Return the level found. Raises :class:`SandboxUnavailable` when it is below ``minimum``."""
        if self.level is not None and self.level.rank >= minimum.rank:
            return self.level
        found = f"the best here is '{self.level}'" if self.level else "this machine offers none"
        reasons = "; ".join(f"{level}: {reason}" for level, reason in self.refused.items())
        raise SandboxUnavailable(
            f"no sandbox of level '{minimum}' or better: {found} ({reasons}). Run as root with "
            "CAP_SYS_ADMIN, or allow unprivileged user namespaces, or accept a lower minimum level."
        )


def probe(
    python: str | None = None, levels: Sequence[Level] = STRONGEST_FIRST, libraries: Libraries = _NO_LIBRARIES
) -> Probe:
    """Try ``levels`` in order with the interpreter ``python`` (default: this one)."""
    refused: dict[Level, str] = {}
    if not sys.platform.startswith("linux"):
        return Probe(None, dict.fromkeys(levels, "needs Linux"))
    for level in levels:
        try:
            facts = _try(level, python or sys.executable, libraries)
        except SlotError as error:
            refused[level] = " ".join(str(error).split())
            continue
        return Probe(level, refused, facts)
    return Probe(None, refused)


def _try(level: Level, python: str, libraries: Libraries) -> dict[str, Any]:
    if (level is Level.NAMESPACES) == (os.geteuid() == 0):
        raise SlotError("only for ordinary users" if level is Level.NAMESPACES else "needs root")
    slot = JailSlot(level, python, libraries)
    try:
        self_test.check(slot)
        return slot.hello
    finally:
        slot.kill()
