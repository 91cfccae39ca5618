"""The default backend: a pool of fork servers, each in a namespace jail of its own."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from sandbox import outcomes, wire
from sandbox.probe import STRONGEST_FIRST, Level, probe
from sandbox.slot import START_S, Answer, SetupError, Slot, SlotError
from sandbox.types import Case, CaseRun, Limits, Outcome, Program

_ATTEMPTS = 2
_CLOSE_S = 2 * START_S


@dataclass
class _Place:
    """A seat for one slot; empty until first used and after its slot broke."""

    slot: Slot | None = None


class JailSandbox:
    """Implements :class:`sandbox.types.Sandbox`.

    ``slots``: programs at the same time. ``minimum_level``: raise SandboxUnavailable instead of running below
    it. ``python``: the interpreter programs run with (default: this one). ``slot_wait_s``: how long a caller
    waits for a free slot before its cases end as ``infra``.
    """

    def __init__(
        self,
        slots: int = 1,
        *,
        minimum_level: Level | str = Level.UID,
        python: str | None = None,
        levels: Sequence[Level] = STRONGEST_FIRST,
        slot_wait_s: float = 600.0,
    ) -> None:
        if slots < 1:
            raise ValueError("a sandbox needs at least one slot")
        self._probe = probe(python, levels)
        self._level = self._probe.require(Level(minimum_level))
        self._python = python or sys.executable
        self._slots = slots
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
        return self._slots

    def describe(self) -> dict[str, Any]:
        return {
            "backend": "jail",
            "level": str(self._level),
            "slots": self._slots,
            "slot_restarts": self._restarts,
            "refused": {str(level): reason for level, reason in self._probe.refused.items()},
            **{key: value for key, value in self._probe.facts.items() if key != "level"},
        }

    def run(self, program: Program, limits: Limits) -> list[CaseRun]:
        """One result per case, in order."""
        try:
            place = self._free.get(timeout=self._slot_wait_s)
        except queue.Empty:
            return _all(program.cases, Outcome.INFRA, f"no free slot in {self._slot_wait_s} s")
        try:
            return self._run_on(place, program, limits)
        finally:
            self._free.put(place)

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

    def __enter__(self) -> JailSandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run_on(self, place: _Place, program: Program, limits: Limits) -> list[CaseRun]:
        done: dict[int, CaseRun] = {}
        calls = [index for index, case in enumerate(program.cases) if case.kind == "call"]
        scripts = [index for index, case in enumerate(program.cases) if case.kind == "stdin"]
        broken = 0
        while calls or scripts:
            batch = calls or scripts[:1]
            cases = [program.cases[index] for index in batch]
            try:
                runs = self._fork(place, program.source, cases, limits)
            except SlotError as error:
                self._retire(place)
                broken += 1
                if broken < _ATTEMPTS and not self._closed:
                    continue
                ours = self._closed or isinstance(error, (SetupError, _StartError))
                outcome = Outcome.INFRA if ours else Outcome.CRASH
                rest = [index for index in range(len(program.cases)) if index not in done]
                done |= {index: CaseRun(program.cases[index].id, outcome, note=str(error)) for index in rest}
                break
            done |= dict(zip(batch, runs, strict=False))
            if calls:
                calls = calls[len(runs) :]
            else:
                scripts = scripts[1:]
        return [replace(done[index], id=case.id) for index, case in enumerate(program.cases)]

    def _fork(self, place: _Place, source: str, cases: list[Case], limits: Limits) -> list[CaseRun]:
        slot = self._slot(place)
        is_call = cases[0].kind == "call"
        results = 2 + len(cases) if is_call else 1
        answer: Answer = slot.ask(
            wire.limits_header(limits, results, keep_output=not is_call),
            wire.payload(source, [case.call for case in cases] if is_call else None),
            b"" if is_call else cases[0].stdin.encode("utf-8", "replace"),
            wire.deadline_s(limits, results),
        )
        # The chunk that broke the output limit was counted but not passed on.
        if answer.end["why"] != "output" and len(answer.results) != len(answer.end["marks"]):
            raise SlotError("runner and host count different results")
        if is_call:
            return outcomes.call_runs(cases, answer, limits)
        return [outcomes.script_run(cases[0], answer, limits)]

    def _slot(self, place: _Place) -> Slot:
        if place.slot is None:
            try:
                started = self._starter.submit(Slot, self._level, self._python).result(timeout=2 * START_S)
            except (SlotError, RuntimeError, TimeoutError) as error:
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


def _all(cases: Sequence[Case], outcome: Outcome, note: str) -> list[CaseRun]:
    return [CaseRun(case.id, outcome, note=note) for case in cases]
