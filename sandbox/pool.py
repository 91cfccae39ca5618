"""A pool of slots that callers share, the common part of all backends."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self

from sandbox import outcomes, wire
from sandbox.link import START_S, Answer, LateError, SetupError, Slot, SlotError
from sandbox.types import Case, CaseRun, Limits, Outcome, Program

_ATTEMPTS = 2
_CLOSE_S = 2 * START_S


@dataclass
class _Place:
    """A seat for one slot; empty until first used and after its slot broke."""

    slot: Slot | None = None


class SlotPool:
    """Implements :class:`sandbox.types.Sandbox` over slots, which ``start`` makes as they are needed.

    ``slots``: programs at the same time. ``slot_wait_s``: how long a caller waits for a free slot before its cases
    end as ``infra``.
    """

    def __init__(self, start: Callable[[], Slot], slots: int = 1, *, slot_wait_s: float = 600.0) -> None:
        if slots < 1:
            raise ValueError("a sandbox needs at least one slot")
        self._start = start
        self._size = slots
        self._slot_wait_s = slot_wait_s
        self._places = [_Place() for _ in range(slots)]
        self._free: queue.LifoQueue[_Place] = queue.LifoQueue()
        for place in reversed(self._places):
            self._free.put(place)
        self._lock = threading.Lock()
        self._closed = False
        self._restarts = 0
        # A slot dies with the thread that started it, so one thread that lives as long as we do starts them.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="sandbox-starter")

    @property
    def slots(self) -> int:
        return self._size

    def live_slots(self) -> list[Slot]:
        """Return the slots that are started at the moment, in no order."""
        return [slot for place in self._places if (slot := place.slot) is not None]

    def describe(self) -> dict[str, Any]:
        return {"slots": self._size, "slots_live": len(self.live_slots()), "slot_restarts": self._restarts}

    def run(
        self, program: Program, limits: Limits, *, stop_on: Callable[[CaseRun], bool] | None = None
    ) -> list[CaseRun]:
        try:
            place = self._free.get(timeout=self._slot_wait_s)
        except queue.Empty:
            note = f"no free slot in {self._slot_wait_s} s"
            return [CaseRun(case.id, Outcome.INFRA, note=note) for case in program.cases]
        try:
            done = self._run_on(place, program, limits, stop_on)
        finally:
            self._free.put(place)
        return [replace(done[index], id=case.id) for index, case in enumerate(program.cases)]

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for place in self._places:
                if place.slot is not None:
                    place.slot.terminate()
        # A caller in the middle of a run sees its slot end and hands the place back; only then are its file
        # descriptors free to be closed.
        held = [self._free.get(timeout=_CLOSE_S) for _ in self._places]
        for place in held:
            self._retire(place)
            self._free.put(place)
        self._starter.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run_on(
        self, place: _Place, program: Program, limits: Limits, stop_on: Callable[[CaseRun], bool] | None
    ) -> dict[int, CaseRun]:
        done: dict[int, CaseRun] = {}
        waiting = _batches(program)
        broken = 0
        while waiting:
            batch = waiting[0]
            try:
                runs = self._fork(place, program, [program.cases[index] for index in batch], limits)
            except SlotError as error:
                self._retire(place)
                broken += 1
                if broken < _ATTEMPTS and not self._closed:
                    continue
                ours = self._closed or isinstance(error, (LateError, SetupError, _StartError))
                return done | _rest(waiting, Outcome.INFRA if ours else Outcome.CRASH, str(error))
            done |= dict(zip(batch, runs, strict=False))
            waiting[0] = batch[len(runs) :]
            if not waiting[0]:
                waiting.popleft()
            if stop_on is not None and any(map(stop_on, runs)):
                return done | _rest(waiting, Outcome.SKIPPED, "")
        return done

    def _fork(self, place: _Place, program: Program, cases: list[Case], limits: Limits) -> list[CaseRun]:
        slot = self._slot(place)
        if program.language not in slot.hello.get("languages", ("python",)):
            note = f"nothing here runs {program.language}; see the languages that couplet sandbox info tells"
            return [CaseRun(case.id, Outcome.INFRA, note=note) for case in cases]
        request = wire.request(program, cases, limits, str(slot.hello["byte_code"]))
        answer: Answer = slot.ask(request.header, request.payload, request.given, request.deadline_s)
        # The chunk that broke the output limit was counted but not passed on.
        if answer.end.why != "output" and len(answer.results) != len(answer.end.marks):
            raise SlotError("runner and host count different results")
        if cases[0].kind == "stdin":
            return [outcomes.script_run(cases[0], answer, limits)]
        return outcomes.call_runs(cases, answer, limits)

    def _slot(self, place: _Place) -> Slot:
        if self._closed:
            raise _StartError("the sandbox is closed")
        if place.slot is None:
            try:
                starting = self._starter.submit(self._start)
            except RuntimeError as error:  # closed in this moment
                raise _StartError(f"cannot start a slot: {error}") from error
            try:
                started = starting.result(timeout=2 * START_S)
            except TimeoutError as error:
                starting.add_done_callback(_kill_late)
                raise _StartError(f"no slot started in {2 * START_S} s") from error
            except (SlotError, CancelledError) as error:
                raise _StartError(f"cannot start a slot: {error}") from error
            with self._lock:
                if self._closed:
                    started.kill()
                    raise _StartError("the sandbox is closed")
                place.slot = started
        return place.slot

    def _retire(self, place: _Place) -> None:
        with self._lock:
            if place.slot is not None:
                place.slot.kill()
                place.slot = None
                self._restarts += 1


class _StartError(SlotError):
    """No slot could be started; the program has no part in it."""


def _kill_late(starting: Future[Slot]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        starting.result().kill()


def _batches(program: Program) -> deque[list[int]]:
    """Group the indices of cases that share a process: all calls and all scripts without files of their own."""
    batches: deque[list[int]] = deque()
    for kind in ("call", "script", "stdin"):
        indices = [index for index, case in enumerate(program.cases) if case.kind == kind]
        alone = [index for index in indices if _is_alone(program, index)]
        together = [index for index in indices if not _is_alone(program, index)]
        batches.extend([index] for index in alone)
        if together:
            batches.append(together)
    return batches


def _is_alone(program: Program, index: int) -> bool:
    case = program.cases[index]
    return case.kind == "stdin" or program.own_process or case.has_files


def _rest(waiting: Iterable[list[int]], outcome: Outcome, note: str) -> dict[int, CaseRun]:
    return {index: CaseRun("", outcome, note=note) for batch in waiting for index in batch}
