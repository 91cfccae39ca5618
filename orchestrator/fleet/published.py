"""Which of the published weights rollout workers are to hold."""

from __future__ import annotations

from dataclasses import dataclass

from common.weights.messages import SharedBuckets, WeightsUpdate


@dataclass(frozen=True)
class NumberedUpdate:
    """Published weights and their number; versions do not tell updates apart, as the learner may fall back."""

    number: int
    update: WeightsUpdate

    @property
    def version(self) -> int:
        """The version of the weights."""
        return self.update.manifest.version


class PublishedWeights:
    """Keep the newest update and, while weights are held, the one that workers hold meanwhile.

    Updates lie in shared memory or in the object store for as long as they are kept here, so there are two at
    most.
    """

    def __init__(self) -> None:
        self._count = 0
        self._newest: NumberedUpdate | None = None
        self._held: NumberedUpdate | None = None

    @property
    def target(self) -> NumberedUpdate | None:
        """The update that every worker is to hold; None while there is none."""
        return self._held or self._newest

    @property
    def held(self) -> bool:
        """Whether workers keep an update though newer ones come."""
        return self._held is not None

    @property
    def shared(self) -> tuple[int, ...]:
        """Serials of the updates kept here that lie in shared memory."""
        kept = (numbered.update.buckets for numbered in (self._held, self._newest) if numbered is not None)
        return tuple(where.serial for where in kept if isinstance(where, SharedBuckets))

    def begin(self) -> int:
        """Return the number of the update that is about to be published, and make room for it.

        The newest update is let go of, unless workers are to keep it. No number is used twice, though the
        publication may fail: some worker may have received all of it.
        """
        self._newest = None
        self._count += 1
        return self._count

    def end(self, update: WeightsUpdate) -> NumberedUpdate:
        """Keep the update that was published as the newest, under the last number."""
        self._newest = NumberedUpdate(self._count, update)
        return self._newest

    def hold(self) -> None:
        """Have workers keep the newest update until :meth:`release`. Raises RuntimeError before the first."""
        if self._held is None:
            if self._newest is None:
                raise RuntimeError("no weights have been published that workers could hold")
            self._held = self._newest

    def release(self) -> None:
        """Have workers take the newest update again."""
        self._held = None
