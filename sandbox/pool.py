"""A pool of slots that callers share, the common part of all backends."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self

from sandbox import outcomes, wire
from sandbox.account import Account
from sandbox.cancellation import Cancellation
from sandbox.inside import protocol
from sandbox.link import START_S, Answer, LateError, SetupError, Slot, SlotError
from sandbox.types import Budget, Case, CaseRun, Limits, Outcome, Program

_ATTEMPTS = 2
_INPUTS = 1 << 20  # characters of the inputs that a program's fork server holds
_CLOSE_S = 2 * START_S
_CANCELLED = "nobody waits for it any more"


@dataclass
class _Place:
    """A seat for one slot; empty until first used and after its slot broke."""

    slot: Slot | None = None


@dataclass(frozen=True)
class _Asked:
    """What a caller of :meth:`SlotPool.run` asked for."""

    program: Program
    limits: Limits
    budget: Budget
    stop_on: Callable[[CaseRun], bool] | None
    cancellation: Cancellation


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
        self,
        program: Program,
        limits: Limits,
        *,
        stop_on: Callable[[CaseRun], bool] | None = None,
        budget: Budget | None = None,
        cancellation: Cancellation | None = None,
    ) -> list[CaseRun]:
        asked = _Asked(program, limits, budget or Budget(), stop_on, cancellation or Cancellation())
        try:
            place = self._free.get(timeout=self._slot_wait_s)
        except queue.Empty:
            note = f"no free slot in {self._slot_wait_s} s"
            return [CaseRun(case.id, Outcome.INFRA, note=note) for case in program.cases]
        try:
            done = self._run_on(place, asked)
        finally:
            self._free.put(place)
        runs = ((done[index], case.id) for index, case in enumerate(program.cases))
        return [run if run.id == name else replace(run, id=name) for run, name in runs]

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

    def _run_on(self, place: _Place, asked: _Asked) -> dict[int, CaseRun]:
        done: dict[int, CaseRun] = {}
        waiting = _batches(asked.program)
        account = Account(asked.budget)
        broken = 0
        while waiting:
            if asked.cancellation.cancelled:
                return done | _rest(waiting, Outcome.INFRA, _CANCELLED)
            if (exhausted := account.exhausted()) is not None:
                return done | _rest(waiting, *exhausted)
            batch = waiting[0]
            started = time.monotonic()
            runs: list[CaseRun] = []
            try:
                self._fork(place, asked, [asked.program.cases[index] for index in batch], account, runs)
            except SlotError as error:
                self._retire(place)
                done |= _take_off(waiting, runs)
                broken += 1
                ours = self._closed or isinstance(error, (LateError, SetupError, _StartError))
                if not ours:
                    account.charge_lost(time.monotonic() - started)
                if asked.cancellation.cancelled or (broken < _ATTEMPTS and not self._closed):
                    continue
                return done | _rest(waiting, Outcome.INFRA if ours else Outcome.CRASH, str(error))
            done |= _take_off(waiting, runs)
            if asked.stop_on is not None and any(map(asked.stop_on, runs)):
                return done | _rest(waiting, Outcome.SKIPPED, "")
        return done

    def _fork(
        self, place: _Place, asked: _Asked, cases: list[Case], account: Account, runs: list[CaseRun]
    ) -> None:
        """Run the cases, which are of one kind; add what became of the first one or more of them to ``runs``."""
        slot = self._slot(place)
        if asked.program.language not in slot.hello.get("languages", ("python",)):
            note = f"nothing here runs {asked.program.language}; see the languages that couplet sandbox info tells"
            runs.extend(CaseRun(case.id, Outcome.INFRA, note=note) for case in cases)
            return
        byte_code, stepwise = str(slot.hello["byte_code"]), asked.stop_on is not None
        request = wire.request(asked.program, cases, asked.limits, account.left(), byte_code, stepwise)
        work = request.header, request.payload, request.given, request.deadline_s

        def heard(answer: Answer) -> bool:
            found = _case_runs(cases[len(runs) :], answer, asked)
            account.charge(found, answer.end)
            runs.extend(found)
            return asked.stop_on is None or not any(map(asked.stop_on, found))

        with asked.cancellation.ending_by(slot.terminate):
            if cases[0].kind == "stdin" and len(cases) > 1:
                slot.ask_each(*work, heard)
            else:
                heard(slot.ask(*work))

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


def _case_runs(cases: list[Case], answer: Answer, asked: _Asked) -> list[CaseRun]:
    """Say what became of the first one or more of the cases. Raises SlotError."""
    # The chunk that broke a limit of bytes was counted but not passed on.
    cut = answer.end.why in ("output", protocol.BUDGET_BYTES)
    if not cut and len(answer.results) != len(answer.end.marks):
        raise SlotError("runner and host count different results")
    if not cases:
        raise SlotError("more answers from the runner than it was asked for")
    if cases[0].kind == "stdin":
        return [outcomes.script_run(cases[0], answer, asked.limits, asked.budget)]
    return outcomes.call_runs(cases, answer, asked.limits, asked.budget)


def _take_off(waiting: deque[list[int]], runs: list[CaseRun]) -> dict[int, CaseRun]:
    """Take the cases that were run off the front of those that wait; return the runs by index."""
    batch = waiting[0]
    waiting[0] = batch[len(runs) :]
    if not waiting[0]:
        waiting.popleft()
    return dict(zip(batch, runs, strict=False))


class _StartError(SlotError):
    """No slot could be started; the program has no part in it."""


def _kill_late(starting: Future[Slot]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        starting.result().kill()


def _batches(program: Program) -> deque[list[int]]:
    """Group the indices of cases that are asked for at once: all calls, all scripts, inputs up to a total size.

    Those that need a process or a folder for themselves are asked for alone.
    """
    batches: deque[list[int]] = deque()
    for kind in ("call", "script"):
        indices = [index for index, case in enumerate(program.cases) if case.kind == kind]
        alone = [index for index in indices if program.own_process or program.cases[index].has_files]
        together = [index for index in indices if index not in alone]
        batches.extend([index] for index in alone)
        if together:
            batches.append(together)
    inputs: list[int] = []
    size = 0
    for index, case in enumerate(program.cases):
        if case.kind != "stdin":
            continue
        if case.has_files or program.language != "python":  # another language's interpreter is not forked
            batches.append([index])
            continue
        size += len(case.stdin)
        if inputs and size > _INPUTS:
            batches.append(inputs)
            inputs, size = [], len(case.stdin)
        inputs.append(index)
    if inputs:
        batches.append(inputs)
    return batches


def _rest(waiting: Iterable[list[int]], outcome: Outcome, note: str) -> dict[int, CaseRun]:
    return {index: CaseRun("", outcome, note=note) for batch in waiting for index in batch}
