"""What the process of the tests says of a script that has ended without an exception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from sandbox.inside import values


@dataclass(frozen=True)
class Claim:
    """Whether a script passed, and what it took.

    ``checks``: that it reached. ``calls``: of the solution. ``uses``: what it asked of objects of the solution, by
    the place of each (:mod:`sandbox.inside.places`). ``changes``: the arguments that the solution changed.
    """

    passed: bool
    checks: int = 0
    calls: int = 0
    uses: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()

    def encode(self, max_bytes: int) -> bytes:
        """Encode the claim. Raises ValueRefusedError when it is too large."""
        plain = (self.passed, self.checks, self.calls, sorted(self.uses), sorted(self.changes))
        return values.encode(plain, max_bytes)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Decode a claim. Raises ValueRefusedError for anything else."""
        match values.decode(data):
            case (bool() as passed, int() as checks, int() as calls, list() as uses, list() as changes) if type(
                checks
            ) is type(calls) is int and all(type(text) is str for text in (*uses, *changes)):
                return cls(passed, checks, calls, frozenset(uses), frozenset(changes))
        raise values.ValueRefusedError("not the result of a script")


#: A script whose assertion does not hold.
NOT_PASSED = Claim(False).encode(100)
