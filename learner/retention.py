"""Which checkpoints of a run are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Retention:
    """Keep the ``last`` checkpoints, and besides them all of steps that are multiples of ``every``; 0 is none."""

    last: int
    every: int = 0

    def surplus(self, steps: Sequence[int], newest: int) -> list[int]:
        """List the steps, of those that have a checkpoint beside the ``newest``, whose checkpoint is to go.

        Steps that the run was taken back from go first, then the oldest.
        """
        later = sorted(step for step in steps if step > newest)
        earlier = sorted(step for step in steps if step < newest)
        leaving = [*later, *earlier, newest][: -self.last]
        return [step for step in leaving if step > newest or not self._for_good(step)]

    def most(self, steps: int, checkpoint_steps: int) -> int:
        """Return the most checkpoints that a run of ``steps`` keeps, one every ``checkpoint_steps`` of them."""
        made = -(-steps // checkpoint_steps)
        for_good = steps // self.every if self.every else 0
        return min(made, self.last + for_good)

    def _for_good(self, step: int) -> bool:
        return bool(self.every) and step % self.every == 0
