"""A chaos run: strike a run that is under way, see that it recovers from every strike, and audit what it leaves.

The run is a process of its own, started as a user starts it, and all that is known of it is seen from outside:
its processes, its folder, its Redis, its exit code.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import rng
from common.config import Config
from common.errors import RunFailedError
from orchestrator.chaos.audit import audit, dead_letters
from orchestrator.chaos.comparison import differing_weights
from orchestrator.chaos.faults import FAULTS, NoVictimError
from orchestrator.chaos.run_process import RunProcess, Steps
from orchestrator.chaos.schedule import Strike, schedule
from orchestrator.run_folder import read_records

_TICK_SECONDS = 0.02
#: Where the main process is killed, agents of its Ray may try for a minute to report that.
_CLEAN_SECONDS = 90.0


class ChaosError(RunFailedError):
    """A run did not go on after a fault, or ended as it must not; the message has the run's last words."""


@dataclass
class Struck:
    """A strike that has come, to ``victim``, when ``step`` was the last recorded step.

    ``seconds``: from the strike until a step was recorded that had not been before; None while there is none.
    ``ended_seconds``: until the run ended by it, None where it went on by itself.
    """

    number: int
    fault: str
    victim: str
    step: int
    seconds: float | None = None
    ended_seconds: float | None = None


@dataclass(frozen=True)
class ChaosResult:
    """What became of a struck run.

    ``seconds``: of the whole run; ``step_seconds``: the median of its steps. ``wrong``: what the audit found, and
    what was left behind.
    """

    struck: list[Struck]
    seconds: float
    step_seconds: float
    wrong: list[str]


@dataclass(frozen=True)
class ChaosPlan:
    """Say how often a run is struck and with what.

    ``patience``: seconds without a step that had not been reached before, or until the end that a fault brings, at
    most.
    """

    strikes: int
    faults: Sequence[str]
    seed: int
    patience: float


class Chaos:
    """Strike a run of ``config``, for which ``couplet train`` is given ``arguments``; its output goes to ``log``.

    ``on_strike`` is told of every strike; ``check_stop`` is called while waiting and may raise.
    """

    def __init__(
        self,
        plan: ChaosPlan,
        config: Config,
        arguments: Sequence[str],
        log: Path,
        on_strike: Callable[[Struck], None],
        check_stop: Callable[[], None],
    ) -> None:
        self._plan = plan
        self._config = config
        self._on_strike = on_strike
        self._check_stop = check_stop
        self._struck: list[tuple[Struck, float]] = []
        self._run = RunProcess(arguments, config.folder, log)
        self._steps = Steps(config.folder)
        self._began = time.monotonic()

    def run(self) -> ChaosResult:
        """Strike the run until its end, and audit it. Raises ChaosError where it hangs, or ends as it must not."""
        plan, config = self._plan, self._config
        try:
            for strike in schedule(plan.strikes, config.run.total_steps, plan.faults, plan.seed):
                if not self._strike(strike):
                    break
            while self._goes_on():
                time.sleep(_TICK_SECONDS)
            left = self._run.processes.left(_CLEAN_SECONDS)
        finally:
            self._run.kill()
        wrong = [f"left behind: {one}" for one in left]
        wrong += audit(config.folder, config)
        wrong += [f"dead letter: {letter}" for letter in dead_letters(config)]
        seconds = [line["seconds/step"] for line in read_records(config.folder, "metrics")]
        return ChaosResult(
            struck=[struck for struck, _ in self._struck],
            seconds=time.monotonic() - self._began,
            step_seconds=statistics.median(seconds) if seconds else 0.0,
            wrong=wrong,
        )

    def _strike(self, strike: Strike) -> bool:
        """Wait for the moment of a strike, and strike; return False where the run has finished before."""
        fault, draw = FAULTS[strike.fault], rng.stream(self._plan.seed, "chaos-victims", strike.number)
        while self._goes_on():
            if self._steps.reached(strike.step, strike.share):
                began, step = time.monotonic(), self._steps.highest
                try:
                    victim = fault.strike(self._run, strike.role, draw)
                except NoVictimError:
                    continue
                struck = Struck(strike.number, strike.fault, victim, step)
                self._struck.append((struck, began))
                self._on_strike(struck)
                if fault.exit_codes:
                    self._resume(struck, began)
                return True
            time.sleep(_TICK_SECONDS)
        return False

    def _resume(self, struck: Struck, began: float) -> None:
        """Wait until the run has ended by a fault, leaving nothing behind, and start it again."""
        codes = FAULTS[struck.fault].exit_codes
        code = self._run.wait(self._plan.patience)
        struck.ended_seconds = time.monotonic() - began
        if code not in codes:
            self._fail(f"it was to end with exit code {' or '.join(map(str, codes))}, not {code}")
        if left := self._run.processes.left(_CLEAN_SECONDS):
            self._fail(f"it left behind: {', '.join(left)}")
        self._run.resume()

    def _goes_on(self) -> bool:
        """Tell whether the run is under way; it has finished otherwise. Raises ChaosError where neither is so."""
        self._check_stop()
        code = self._run.exit_code
        self._steps.poll()
        now = time.monotonic()
        for struck, began in self._struck:
            if struck.seconds is None and self._steps.highest > struck.step:
                struck.seconds = now - began
        if code is not None:
            if code != 0:
                self._fail(f"it ended with exit code {code}")
            return False
        since = max(self._steps.risen, *(began for _, began in self._struck), self._began)
        if now - since > self._plan.patience:
            self._fail(f"no new step for {self._plan.patience:.0f} s")
        return True

    def _fail(self, reason: str) -> None:
        after = "no strike"
        if self._struck:
            last, _ = self._struck[-1]
            after = f"strike {last.number} ({last.fault}, {last.victim}, after step {last.step})"
        words = self._run.last_words().splitlines()[-15:]
        raise ChaosError(f"after {after}: {reason}; the run's last words ({self._run.log}):\n" + "\n".join(words))


def compare_with_undisturbed(config: Config, arguments: Sequence[str], folder: Path, seconds: float) -> list[str]:
    """Make the run of ``config`` again in ``folder``, undisturbed; return what differs in the weights.

    ``arguments`` are those of ``couplet train`` for that folder, and ``seconds`` what it may take. Raises
    ChaosError where it fails.
    """
    run = RunProcess(arguments, folder, folder.with_suffix(".log"))
    try:
        code = run.wait(seconds)
    finally:
        run.kill()
    if code != 0:
        raise ChaosError(f"the undisturbed run ended with exit code {code}; see {run.log}")
    names = differing_weights(config.folder, folder)
    return [f"weights differ from those of the undisturbed run: {', '.join(names)}"] if names else []
