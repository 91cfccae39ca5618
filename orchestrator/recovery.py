"""Recovery of a run's streams after Redis has lost data: the run goes on from what its processes hold.

The main process knows how many groups it has admitted, the learner which of them it has consumed or buffered. What
neither the streams nor the learner hold is published again, as soon as admission would start it now. A worker may
still finish its copy: of two copies the learner takes the first that comes, by the index.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from common.records import PromptGroup, Purpose, RecordError, RolloutGroup, TrajectoryGroup
from common.streams import PROMPTS, ROLLOUTS, TRAJECTORIES, Streams, check_access
from learner.source import Lacking
from orchestrator.admission import Admission


class Learner(Protocol):
    """The learner, as far as recovery asks it."""

    def lacking(self, admitted: int) -> Lacking:
        """Return which groups below index ``admitted`` have not come to the learner."""


class Recovery:
    """Keep the streams of a run whole. ``note`` is told when they had to be made anew.

    ``check_terms`` sees that what scorers must agree on is among what is kept.
    """

    def __init__(
        self,
        streams: Streams,
        admission: Admission,
        learner: Learner,
        note: Callable[[str], None],
        check_terms: Callable[[], None],
    ) -> None:
        self._streams = streams
        self._admission = admission
        self._learner = learner
        self._note = note
        self._check_terms = check_terms
        self._server = streams.server()
        self._incomplete = False

    def begin(self) -> None:
        """Complete the streams as an earlier attempt left them, and take them for whole from now on."""
        self._complete()
        self._streams.vouch()

    def check(self) -> None:
        """See whether data was lost, and complete the streams if so; three round trips if not.

        A server process that took the place of another may lack what came just before. Raises StreamError, or what
        the learner raises, in which case the next call completes them, or DisagreementError.
        """
        self._check_terms()
        self._streams.try_write()
        before, self._server = self._server, self._streams.server()
        restarted = self._server != before
        if not self._incomplete:
            if self._streams.whole() and not restarted:
                return
            self._incomplete = True
            self._streams.renew()
        missing = self._complete()
        self._streams.vouch()
        self._incomplete = False
        if missing or not restarted:
            self._note(f"Redis has lost data of the run; {missing} groups are published again")

    def tend(self) -> None:
        """Keep the streams usable for a learner that is being started, and waits for them.

        What they have lost, :meth:`check` finds and completes once there is a learner to ask.
        """
        self._streams.mend()

    def learner_restarted(self) -> None:
        """Complete the streams for a learner that fell back to a checkpoint.

        If data was lost since that was written, groups that the learner has consumed meanwhile are gone; so are
        those that a damaged checkpoint had let go of.
        """
        self._complete()

    def while_away(self, poll: Callable[[], object]) -> None:
        """Have ``poll`` called, too, while Redis is away."""
        self._streams.patience.also(poll)

    def explain(self) -> None:
        """Raise StreamError if a process has failed because Redis forbids what it does."""
        if self._streams.patience.problem is None:
            check_access(self._streams)

    def wait_no_more(self) -> None:
        """End the patience with a Redis that is away: the run is ending."""
        self._streams.patience.end()

    def _complete(self) -> int:
        """Have admission publish again what nobody holds; return the count of those groups."""
        held = groups_in(self._streams)
        lacking = self._learner.lacking(self._admission.admitted)
        self._admission.begin_at(lacking.progress)
        missing = [index for index in lacking.indices if index not in held]
        self._streams.restore_counters(lacking.counters | {"admitted": self._admission.admitted})
        self._admission.admit_again(missing)
        return len(missing)


def groups_in(streams: Streams) -> set[int]:
    """Return the indices of the training groups on their way.

    Streams are read in the order in which groups move, so that none is passed by.
    """
    found = set()
    for stream, kind in ((PROMPTS, PromptGroup), (ROLLOUTS, RolloutGroup), (TRAJECTORIES, TrajectoryGroup)):
        for data in streams.scan(stream):
            with suppress(RecordError):  # its consumer moves it to the dead letters
                record = kind.decode(data)
                prompt = record if isinstance(record, PromptGroup) else record.prompt
                if prompt.purpose is Purpose.TRAIN:
                    found.add(prompt.index)
    return found
