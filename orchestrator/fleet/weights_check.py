"""What workers find when they compare their weights with those published (``rollout.verify_weights``)."""

from __future__ import annotations

from dataclasses import dataclass

from common.errors import RunFailedError
from common.weights.messages import Verification

_NAMES_SHOWN = 5


class WeightsDifferError(RunFailedError):
    """A worker holds other weights than were published; the message names it and the tensors."""


@dataclass(frozen=True)
class Verified:
    """``tensors`` of a version that ``workers`` hold bit for bit, ``bytes`` in all; the slowest took ``seconds``.

    ``reloaded``: they were loaded from where the learner had put them, after all had been overwritten; else they
    came by broadcast.
    """

    workers: tuple[str, ...]
    version: int
    reloaded: bool
    tensors: int
    bytes: int
    seconds: float


class WeightsCheck:
    """Collects what the workers of a pool find."""

    def __init__(self) -> None:
        self._equal: dict[tuple[int, bool], list[tuple[str, Verification]]] = {}

    def record(self, worker: str, found: Verification) -> None:
        """Record what a worker found. Raises WeightsDifferError where it is a difference."""
        if found.differing:
            raise WeightsDifferError(_difference(worker, found))
        self._equal.setdefault((found.version, found.reloaded), []).append((worker, found))

    def take(self) -> list[Verified]:
        """Return what was found equal since the last call, one of each version and way it came."""
        equal, self._equal = self._equal, {}
        return [
            Verified(
                workers=tuple(sorted(worker for worker, _ in found)),
                version=version,
                reloaded=reloaded,
                tensors=found[0][1].tensors,
                bytes=found[0][1].bytes,
                seconds=max(one.seconds for _, one in found),
            )
            for (version, reloaded), found in equal.items()
        ]


def _difference(worker: str, found: Verification) -> str:
    shown = ", ".join(found.differing[:_NAMES_SHOWN])
    more = len(found.differing) - _NAMES_SHOWN
    way = "loading them" if found.reloaded else "a broadcast of them"
    return (
        f"rollout.verify_weights: {worker} does not hold the weights {found.version} that the learner published, "
        f"after {way}: {len(found.differing)} of {found.tensors} tensors differ: {shown}"
        f"{f' and {more} more' if more > 0 else ''}; its completions would be another model's"
    )
