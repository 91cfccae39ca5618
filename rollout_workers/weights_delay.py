"""The time from new weights to the first denoising step under them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class WeightsDelay:
    """Measure, for each version that a worker denoises with, the seconds from its publication to its first step.

    ``report`` is told of each. Publications are dated by the learner's machine: clocks have to agree.
    """

    def __init__(self, report: Callable[[float], None], clock: Callable[[], float] = time.time) -> None:
        self._report = report
        self._clock = clock
        self._lock = threading.Lock()
        self._published: dict[int, float] = {}

    def loading(self, version: int, published: float) -> None:
        """Record when the learner began to publish a version that this worker loads."""
        with self._lock:
            self._published[version] = published

    def stepped(self, version: int) -> None:
        """Record a denoising step under a version; the first ends its measurement, and that of skipped ones."""
        with self._lock:
            published = self._published.pop(version, None)
            if published is not None:
                self._published = {other: at for other, at in self._published.items() if at > published}
        if published is not None:
            self._report(max(0.0, self._clock() - published))
