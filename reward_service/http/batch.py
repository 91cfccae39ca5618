"""One batch: the jobs that it is made of, and the lines of its answer as they come in."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from common.records import Task, Verdict
from reward_service.completions import Completions
from reward_service.criteria import MalformedTaskError
from reward_service.extraction import program_of
from reward_service.http.dispatch import BatchTooLargeError, Done, Submission
from reward_service.http.models import (
    DecodingRequest,
    GroupLine,
    GroupRequest,
    SampleScore,
    Summary,
    SummaryLine,
)
from reward_service.http.task_check import problem_of
from reward_service.program_budget import share
from reward_service.results import Judged, Scored
from reward_service.scoring import Scorer
from reward_service.user_rewards import Decoding
from sandbox.cancellation import Cancellation

log = logging.getLogger(__name__)
_LATE = "not scored by the deadline"
#: Tests times completions of one request: the answer has a verdict for each.
MAX_VERDICTS = 1_000_000
#: Of a line that is encoded whole; one with more is encoded a completion at a time.
_VERDICTS_AT_ONCE = 10_000


@dataclass(frozen=True)
class SameProgram:
    """Completions of one group that mean the same program, by their places in it."""

    group: int
    places: tuple[int, ...]


#: Places of completions in their group, and their scores.
Placed = tuple[tuple[int, ...], list[SampleScore]]


class _GroupProgress:
    """The scores of one group so far, or why it has none. Used on the event loop, but for :meth:`whole`."""

    def __init__(self, request: GroupRequest, parts: int) -> None:
        self.request = request
        self.arrived = time.monotonic()
        self.left = parts
        self.error: str | None = None
        self._scores: list[SampleScore | None] = [None] * len(request.completions)
        self._judged: dict[int, Judged] = {}
        self._lock = threading.Lock()
        self._checked = threading.Lock()
        self._problem: str | None = None

    def check(self) -> None:
        """Check the task, once for all its programs. Raises MalformedTaskError."""
        with self._checked:
            if self._problem is None:
                self._problem = problem_of(self.request.task)
        if self._problem:
            raise MalformedTaskError(self._problem)

    def whole(self, places: Sequence[int], judged: Sequence[Judged]) -> list[Judged] | None:
        """Add what was judged; return all of the group to whoever adds the last of it, None to the others.

        Called by the threads that judge.
        """
        with self._lock:
            self._judged.update(zip(places, judged, strict=True))
            if len(self._judged) < len(self._scores):
                return None
            return [self._judged[place] for place in range(len(self._scores))]

    def fill(self, places: Sequence[int], scores: Sequence[SampleScore]) -> None:
        for place, score in zip(places, scores, strict=True):
            self._scores[place] = score

    @property
    def missing(self) -> int:
        return self._scores.count(None)

    def line(self) -> GroupLine:
        if self.error is not None:
            return GroupLine(id=self.request.id, error=self.error)
        late = _late(self.request.task)
        return GroupLine(id=self.request.id, scores=[score or late for score in self._scores])


def check_verdicts(groups: Sequence[GroupRequest]) -> None:
    """Raise BatchTooLargeError where the answer would be larger than one may be."""
    verdicts = sum(len(group.task.tests) * len(group.completions) for group in groups)
    if verdicts > MAX_VERDICTS:
        raise BatchTooLargeError(f"{verdicts} verdicts in one request, and {MAX_VERDICTS} are the most; split it")


class Batch:
    """Jobs, one for each distinct program of each group, and the answer made of their outcomes.

    Its programs share ``deadline_s``. Where a reward function sees whole groups, the job that ends last in a group
    has all of its scores.
    """

    def __init__(self, groups: Sequence[GroupRequest], scorer: Scorer, deadline_s: float) -> None:
        self._scorer = scorer
        #: What is to be run, in the order of the groups.
        self.parts = [part for index, group in enumerate(groups) for part in _parts(index, group)]
        self._share_s = share(deadline_s, len(self.parts), scorer.slots)
        counts = [0] * len(groups)
        for part in self.parts:
            counts[part.group] += 1
        self._groups = [_GroupProgress(group, count) for group, count in zip(groups, counts, strict=True)]

    def jobs(self) -> list[Callable[[Cancellation], Placed]]:
        """Return a job for each of :attr:`parts`."""
        return [partial(self._examine, part) for part in self.parts]

    async def lines(
        self,
        submission: Submission[Placed],
        deadline: float,
        deadline_s: float,
        on_late: Callable[[int], None],
    ) -> AsyncIterator[str]:
        """Yield a line for each group as it finishes or fails, and a summary; long lines in pieces.

        At ``deadline`` (event loop time) groups that did not finish get a line in which what is missing is
        excluded; ``on_late`` is told how many completions that are.
        """
        started = time.perf_counter()
        excluded = errors = 0
        open_groups = dict(enumerate(self._groups))
        async for done in submission.outcomes(deadline):
            index = self.parts[done.index].group
            group = self._groups[index]
            self._take(group, done)
            if index in open_groups and (group.left == 0 or group.error is not None):
                line = open_groups.pop(index).line()
                excluded, errors = excluded + _excluded(line), errors + (line.error is not None)
                for piece in pieces_of(line):
                    yield piece
                    await asyncio.sleep(0)  # others' turn: what is sent at once waits for nothing
        late = sum(group.missing for group in open_groups.values())
        on_late(late)
        for group in open_groups.values():
            line = group.line()
            excluded += _excluded(line)
            for piece in pieces_of(line):
                yield piece
                await asyncio.sleep(0)
        summary = Summary(
            groups=len(self._groups),
            completions=sum(len(group.request.completions) for group in self._groups),
            excluded=excluded,
            errors=errors,
            late=late > 0,
            deadline_s=deadline_s,
            seconds=time.perf_counter() - started,
        )
        yield f"{SummaryLine(summary=summary).model_dump_json()}\n"

    def _examine(self, part: SameProgram, cancellation: Cancellation) -> Placed:
        group = self._groups[part.group]
        if group.error is not None:
            return (), []
        group.check()
        request = group.request
        texts = [request.completions[place] for place in part.places]
        decodings = None if request.decodings is None else [_decoding(request.decodings[i]) for i in part.places]
        asked = Completions(request.task, texts, decodings, share_s=self._share_s, cancellation=cancellation)
        if not self._scorer.sees_groups:
            return part.places, list(map(_sample, self._scorer.examine(asked)))
        whole = group.whole(part.places, self._scorer.judge(asked))
        if whole is None:
            return (), []
        scored = self._scorer.reward(request.task, whole)
        self._scorer.metrics.time("scoring/group", time.monotonic() - group.arrived)
        return tuple(range(len(whole))), list(map(_sample, scored))

    def _take(self, group: _GroupProgress, done: Done[Placed]) -> None:
        group.left -= 1
        if isinstance(done.error, ValueError):
            group.error = str(done.error)
        elif done.error is not None:
            log.error("scoring group %r failed", group.request.id, exc_info=done.error)
            group.error = f"internal error: {type(done.error).__name__}: {done.error}"
        elif group.error is None and done.result is not None:
            group.fill(*done.result)


def _parts(index: int, group: GroupRequest) -> list[SameProgram]:
    """Split a group; completions without a program have nothing to run and go together."""
    places: dict[str | None, list[int]] = {}
    for place, text in enumerate(group.completions):
        places.setdefault(program_of(group.task, text), []).append(place)
    return [SameProgram(index, tuple(same)) for same in places.values()]


def _decoding(asked: DecodingRequest) -> Decoding:
    return Decoding(asked.tokens, asked.forwards)


def _sample(scored: Scored) -> SampleScore:
    score = scored.score
    return SampleScore(
        reward=score.reward,
        components=score.components,
        verdicts=score.verdicts,
        excluded=score.excluded,
        reason=score.reason or None,
        forgeable=score.forgeable,
        notes=tuple(test.note for test in scored.tests),
    )


def _late(task: Task) -> SampleScore:
    count = len(task.tests)
    return SampleScore(
        reward=0.0,
        components={},
        verdicts=(Verdict.INFRA,) * count,
        excluded=True,
        reason=_LATE,
        forgeable=task.in_process,
        notes=(_LATE,) * count,
    )


def _excluded(line: GroupLine) -> int:
    return sum(score.excluded for score in line.scores or ())


def pieces_of(line: GroupLine) -> Iterator[str]:
    """Yield the line in pieces none of which takes long to make."""
    if line.scores is None or sum(len(score.verdicts) for score in line.scores) <= _VERDICTS_AT_ONCE:
        yield f"{line.model_dump_json(exclude_none=True)}\n"
        return
    opened, _, closed = GroupLine(id=line.id, scores=[]).model_dump_json(exclude_none=True).rpartition("[]")
    yield f"{opened}["
    for number, score in enumerate(line.scores):
        yield f"{',' if number else ''}{score.model_dump_json(exclude_none=True)}"
    yield f"]{closed}\n"
