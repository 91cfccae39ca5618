"""What has come for a step that is not complete yet: the answer to why it is not. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from common.reasons import kind_of
from learner.collector import Discarded
from learner.progress import Outcome

_REASONS_SHOWN = 3


@dataclass
class Arrivals:
    """Count the groups that have come since the last step was complete, and why some of them are of no use."""

    kept: int = 0
    filtered: int = 0
    stale: int = 0
    _reasons: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Groups that were lost on their way."""
        return len(self._reasons)

    @property
    def discarded(self) -> int:
        """Groups that came and will not be trained."""
        return self.filtered + self.stale + self.lost

    def keep(self) -> None:
        """Count a group that is there to be trained, or that :meth:`discard` is told of next."""
        self.kept += 1

    def discard(self, discarded: Iterable[Discarded]) -> None:
        """Count groups, kept before, that will not be trained."""
        for one in discarded:
            self.kept -= 1
            if one.outcome is Outcome.FILTERED:
                self.filtered += 1
            elif one.reason:
                self._reasons.append(one.reason)
            else:
                self.stale += 1

    def describe(self) -> str:
        """Say what came, as in ``61 came: 40 filtered, 21 lost: no rollout in 3 attempts (21 times)``."""
        came = max(0, self.kept) + self.discarded
        if not came:
            return "none came"
        parts = [
            f"{count} {what}"
            for count, what in ((self.filtered, "filtered"), (self.stale, "too old"), (self.lost, "lost"))
            if count
        ]
        reasons = f": {self._most_frequent()}" if self._reasons else ""
        return f"{came} came" + (f": {', '.join(parts)}{reasons}" if parts else "")

    def only_reason(self) -> str | None:
        """Return the reason, if all that came was lost, and for one kind of reason; else None."""
        alone = self._reasons and not (self.kept > 0 or self.filtered or self.stale)
        return self._reasons[0] if alone and len(self._kinds()) == 1 else None

    def _kinds(self) -> Counter[str]:
        return Counter(kind_of(reason) for reason in self._reasons)

    def _most_frequent(self) -> str:
        """Show the first reason of each kind, the frequent kinds first."""
        first: dict[str, str] = {}
        for reason in self._reasons:
            first.setdefault(kind_of(reason), reason)
        shown = [
            first[kind] + (f" ({count} times)" if count > 1 else "")
            for kind, count in self._kinds().most_common(_REASONS_SHOWN)
        ]
        more = len(first) - len(shown)
        return "; ".join(shown) + (f"; and {more} other reasons" if more else "")
