"""Bytes of a process by part: an estimate is made of these before anything is started."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A part of the memory of a process, with the moments at which it exists."""

    name: str
    bytes: int
    moments: frozenset[str]


@dataclass(frozen=True)
class Estimate:
    """The parts of a process on its GPU, or of one that runs on the CPU, in the machine's memory.

    ``host`` are those that are in the machine's memory although it runs on a GPU. ``moments``: in their order.
    """

    moments: Sequence[str]
    parts: tuple[Part, ...]
    host: tuple[Part, ...] = ()

    def at(self, moment: str) -> int:
        """Return the bytes of a moment."""
        return bytes_at(self.parts, moment)

    @property
    def peak(self) -> tuple[str, int]:
        """Return the moment that takes the most, and its bytes."""
        moment = max(self.moments, key=self.at)
        return moment, self.at(moment)

    @property
    def host_bytes(self) -> int:
        """Return the most that is in the machine's memory at a time."""
        return max((bytes_at(self.host, moment) for moment in self.moments), default=0)


def bytes_at(parts: Iterable[Part], moment: str) -> int:
    """Add up the parts that exist at a moment."""
    return sum(part.bytes for part in parts if moment in part.moments)
