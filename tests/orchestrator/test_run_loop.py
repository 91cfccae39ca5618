"""The order in which a run does things, with parts that write down what is asked of them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from common.config import Config
from common.disk import DiskError
from common.errors import UserError
from common.streams import StreamError
from learner.learner_loop import StepReport
from learner.progress import Progress
from orchestrator.admission import Ledger
from orchestrator.evaluator import RunDeadlineError
from orchestrator.fleet.rank_group import LearnerDiedError
from orchestrator.interrupt import Interrupted, StopRequest
from orchestrator.rounds import Evaluation
from orchestrator.run_loop import RunLoop
from orchestrator.side_evaluation import SideEvaluation


@dataclass
class Parts:
    """Fleet, learner, admission, evaluator, recovery and recorder in one; ``events`` has what they were asked.

    An evaluation ends at its ``evaluation_polls``-th poll, and a step at its second.
    """

    evaluation_polls: int = 1
    at: dict[str, Callable[[], None]] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    admitted_for: list[tuple[int, int | None]] = field(default_factory=list)
    version: int = 0
    saved: int = 0
    round: int | None = None
    polls: int = 0
    half_done: bool = False
    has_weights: bool = True
    late: bool = False
    leaving: bool = False
    tasks: tuple[int, ...] = (1, 2)
    shared: bool = False

    @property
    def learner(self) -> Parts:
        return self

    @property
    def turns(self) -> Parts:
        return self

    def happen(self, event: str) -> None:
        self.events.append(event)
        self.at.pop(event, lambda: None)()

    # The learner.
    def begin_step(self, checkpoint: bool) -> None:
        if checkpoint and self.saved != self.version:
            self.checkpoint()
        self.half_done = False
        self.happen(f"begin {self.version + 1}")

    def poll_step(self, wait: float) -> StepReport | None:
        self.half_done = not self.half_done
        return None if self.half_done else self.end_step()

    def end_step(self) -> StepReport:
        self.version += 1
        metrics = {"seconds/wait": 0.0, "perf/spare_groups": 0.0}
        return StepReport(self.version, metrics, 0, [], Progress(version=self.version))

    def begin_collecting(self) -> None:
        self.happen(f"collect {self.version + 1}")

    def poll_collecting(self, wait: float) -> bool:
        self.half_done = not self.half_done
        return not self.half_done

    def interrupt(self) -> StepReport | None:
        return None

    def checkpoint(self) -> None:
        if self.saved != self.version:
            self.saved = self.version
            self.happen(f"checkpoint {self.version}")

    def restart(self, reason: str, watch: Callable[[], None]) -> str:
        watch()
        self.version = self.saved
        return f"restart from {self.version}"

    def export(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "weights").write_text(str(self.version))

    # The turns, where there are any.
    def to_rollout_workers(self) -> None:
        self.turn("the workers' turn")

    def to_learner(self) -> None:
        self.turn("the learner's turn")

    def to_new_learner(self) -> None:
        self.turn("a new learner's turn")

    def end(self) -> bool:
        self.turn("the last turn")
        return self.shared

    def turn(self, whose: Any) -> None:
        if self.shared:
            self.happen(whose)

    def take_ended(self) -> tuple[list[Any], list[str]]:
        return [], []

    # The fleet.
    def publish(self) -> list[str]:
        self.happen(f"publish {self.version}")
        return []

    def hold_weights(self) -> None:
        self.happen(f"hold {self.version}")

    def release_weights(self) -> None:
        self.happen("release")

    def verified(self) -> list[Any]:
        return []

    def metrics(self) -> dict[str, float]:
        return {}

    # The evaluator's round.
    def begin(self, version: int | None = None) -> None:
        if version is not None:
            self.round, self.polls = version, 0
            self.happen(f"evaluate {version}")

    # Admission, recovery, records.
    def admit(self, version: int) -> None:
        self.admitted_for.append((version, self.round))

    def step_ended(self, report: StepReport, seconds: float) -> None: ...
    def ledger(self, progress: Progress) -> Ledger:
        return Ledger()

    def while_away(self, poll: Callable[[], object]) -> None: ...
    def check(self) -> None: ...
    def explain(self) -> None: ...
    def tend(self) -> None:
        self.happen("tend")

    def wait_no_more(self) -> None: ...
    def learner_restarted(self) -> None: ...
    def phase(self, name: str) -> None: ...
    def note(self, line: str) -> None:
        self.happen(line)

    def has_evaluation(self, version: int) -> bool:
        return f"evaluated {version}" in self.events

    def rewind(self, step: int) -> None: ...
    def step(self, report: StepReport, *figures: object) -> None:
        self.happen(f"step {report.version}")

    def evaluation(self, result: Evaluation, seconds: float) -> None:
        self.happen(f"evaluated {result.version}")

    def poll(self) -> Any:
        return []


class Evaluator:
    """The parts' round, as a :class:`SideEvaluation` polls it."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.tasks = parts.tasks
        self.begin = parts.begin

    @property
    def version(self) -> int | None:
        return self.parts.round

    def clear(self) -> None: ...

    def give_up(self) -> None:
        self.parts.round = None
        self.parts.happen("give up")

    def poll(self) -> Evaluation | None:
        parts, version = self.parts, self.parts.round
        parts.polls += 1
        if parts.late:
            raise RunDeadlineError("no task came back")
        if version is None or parts.polls < parts.evaluation_polls:
            return None
        parts.round = None
        return Evaluation(version, pass_rate=1.0 / (1 + version), by_family={}, programs=())


def run(
    parts: Parts,
    folder: Path,
    *,
    steps: int,
    every: int = 0,
    checkpoints: int = 100,
    best: bool = False,
    staleness: int = 2,
) -> None:
    config = Config.model_validate(
        {
            "run": {"steps": steps, "folder": folder, "keep_best": best},
            "model": {"path": "builtin:quickstart"},
            "data": {"source": "synthetic"},
            "learner": {"checkpoint_steps": checkpoints, "groups_per_step": 1},
            "evaluation": {"every_steps": every},
            "admission": {"max_staleness": staleness},
        }
    )
    anything: Any = parts
    evaluator: Any = Evaluator(parts)
    evaluation = SideEvaluation(config, anything, evaluator, anything)
    with StopRequest() as stop:
        RunLoop(config, anything, anything, evaluation, anything, anything, stop, tick_seconds=0.0).run()


def test_training_goes_on_beside_an_evaluation_whose_weights_are_held(tmp_path: Path) -> None:
    parts = Parts(evaluation_polls=5)
    run(parts, tmp_path, steps=4)
    first = parts.events.index("evaluated 0")
    assert parts.events[:4] == ["publish 0", "hold 0", "evaluate 0", "begin 1"]
    assert {"step 1", "publish 1", "begin 2", "step 2"} <= set(parts.events[:first])
    assert parts.events[first - 1] == "release"
    assert all(version == held for version, held in parts.admitted_for if held is not None), "no worker waits"
    assert parts.events[-5:] == ["checkpoint 4", "hold 4", "evaluate 4", "release", "evaluated 4"]


def test_a_checkpoint_waits_for_the_evaluation_of_an_earlier_version(tmp_path: Path) -> None:
    parts = Parts(evaluation_polls=50)
    run(parts, tmp_path, steps=4, checkpoints=2)
    assert parts.events.index("evaluated 0") == parts.events.index("checkpoint 2") - 1
    assert parts.events.index("step 2") < parts.events.index("evaluated 0")


def test_one_evaluation_is_under_way_at_a_time(tmp_path: Path) -> None:
    parts = Parts(evaluation_polls=50)
    run(parts, tmp_path, steps=3, every=1)
    assert [one for one in parts.events if one.startswith("evaluat")] == [
        f"{what} {version}" for version in range(4) for what in ("evaluate", "evaluated")
    ]


def test_a_learner_that_falls_back_waits_for_the_evaluation_of_weights_that_it_had(tmp_path: Path) -> None:
    """Else workers would serve its groups, which are older, with those."""

    def die() -> None:
        raise LearnerDiedError("killed")

    parts = Parts(evaluation_polls=8, at={"begin 4": die})
    run(parts, tmp_path, steps=5, every=3, checkpoints=2)
    dead = parts.events.index("begin 4")
    assert parts.events[dead + 1 : dead + 6] == ["tend", "restart from 2", "release", "evaluated 3", "publish 2"]
    assert [one for one in parts.events if one.startswith("evaluate ")] == [
        "evaluate 0",
        "evaluate 3",
        "evaluate 5",
    ]


def test_an_evaluation_whose_weights_went_with_the_learner_is_made_again(tmp_path: Path) -> None:
    """No worker had loaded them yet, or the only one that had died as well: none could do its tasks."""
    parts = Parts(evaluation_polls=8)

    def die() -> None:
        parts.has_weights = False
        raise LearnerDiedError("killed")

    def load() -> None:
        parts.has_weights = True

    parts.at = {"begin 4": die, "publish 3": lambda: parts.at.update({"publish 3": load})}
    run(parts, tmp_path, steps=5, every=3, checkpoints=2)
    dead = parts.events.index("begin 4")
    assert "give up" in parts.events[dead + 1 : parts.events.index("publish 2", dead)]
    assert [one for one in parts.events[dead:] if one.startswith("evaluate")] == [
        "evaluate 3",
        "evaluated 3",
        "evaluate 5",
        "evaluated 5",
    ]


@pytest.mark.parametrize("staleness", [0, 1])
def test_no_step_begins_whose_groups_are_admitted_after_the_evaluation(tmp_path: Path, staleness: int) -> None:
    """The learner would wait for the evaluation, and be taken for one whose groups do not come in time."""
    parts = Parts(evaluation_polls=50)
    run(parts, tmp_path, steps=4, staleness=staleness)
    begun = [one for one in parts.events[: parts.events.index("evaluated 0")] if one.startswith("begin")]
    assert begun == [f"begin {step}" for step in range(1, staleness + 2)]


def test_an_interruption_lets_an_evaluation_end_that_no_resumed_run_would_make(tmp_path: Path) -> None:
    parts = Parts(evaluation_polls=12, at={"begin 2": lambda: signal.raise_signal(signal.SIGTERM)})
    with pytest.raises(Interrupted):
        run(parts, tmp_path, steps=9)
    assert parts.events[-3:] == ["evaluated 0", "checkpoint 1", "checkpoint of step 1; go on with --resume auto"]


def test_a_pod_of_the_learner_that_is_about_to_go_stops_the_run_with_a_checkpoint(tmp_path: Path) -> None:
    parts = Parts()
    parts.at = {"begin 2": lambda: setattr(parts, "leaving", True)}
    with pytest.raises(Interrupted) as caught:
        run(parts, tmp_path, steps=9)
    assert caught.value.exit_code == 128 + signal.SIGTERM
    note = "a pod of the learner is about to be taken away: the run stops with a checkpoint"
    assert parts.events.count(note) == 1
    assert parts.events[-2:] == ["checkpoint 1", "checkpoint of step 1; go on with --resume auto"]


def test_an_evaluation_that_fails_while_a_run_ends_keeps_it_from_no_checkpoint(tmp_path: Path) -> None:
    parts = Parts(evaluation_polls=50)

    def end() -> None:
        parts.late = True
        signal.raise_signal(signal.SIGTERM)

    parts.at = {"begin 2": end}
    with pytest.raises(Interrupted):
        run(parts, tmp_path, steps=9)
    assert parts.events[-2:] == ["checkpoint 1", "checkpoint of step 1; go on with --resume auto"]


@pytest.mark.parametrize("error", [StreamError("XADD is denied"), DiskError("metrics.jsonl: the disk is full")])
def test_a_run_that_gives_up_leaves_all_steps_in_a_checkpoint(error: UserError, tmp_path: Path) -> None:
    def fail() -> None:
        raise error

    parts = Parts(at={"begin 3": fail})
    with pytest.raises(type(error), match=str(error)):
        run(parts, tmp_path, steps=9)
    assert parts.events[-2:] == ["checkpoint 2", "checkpoint of step 2; go on with --resume auto"]


def test_the_weights_that_are_kept_are_those_that_were_evaluated(tmp_path: Path) -> None:
    parts = Parts(evaluation_polls=5)
    run(parts, tmp_path, steps=4, best=True)
    assert (tmp_path / "best" / "weights").read_text() == "0", "though the learner had gone on"
    assert not (tmp_path / ".candidate").exists()


def test_on_shared_devices_the_learner_trains_once_the_workers_have_done_all_they_have_to(tmp_path: Path) -> None:
    parts = Parts(evaluation_polls=9, shared=True)
    run(parts, tmp_path, steps=2, checkpoints=1, staleness=0)
    assert parts.events == [
        "publish 0",
        "hold 0",
        "evaluate 0",
        "the workers' turn",
        "collect 1",
        "release",
        "evaluated 0",
        "the learner's turn",
        "begin 1",
        "publish 1",
        "step 1",
        "checkpoint 1",
        "the workers' turn",
        "collect 2",
        "the learner's turn",
        "begin 2",
        "publish 2",
        "step 2",
        "checkpoint 2",
        "hold 2",
        "evaluate 2",
        "the workers' turn",
        "release",
        "evaluated 2",
        "the learner's turn",
    ]


def test_on_shared_devices_a_learner_that_died_has_the_next_turn(tmp_path: Path) -> None:
    parts = Parts(tasks=(), shared=True)

    def die() -> None:
        raise LearnerDiedError("killed")

    parts.at["collect 2"] = die
    run(parts, tmp_path, steps=2, staleness=0)
    died = parts.events.index("collect 2")
    assert parts.events[died + 1 : died + 5] == [
        "a new learner's turn",
        "tend",
        "restart from 0",
        "publish 0",
    ]


def test_on_shared_devices_an_interrupted_run_waits_for_no_worker(tmp_path: Path) -> None:
    parts = Parts(evaluation_polls=10**6, shared=True)

    def stop() -> None:
        signal.raise_signal(signal.SIGTERM)

    parts.at["collect 1"] = stop
    with pytest.raises(Interrupted):
        run(parts, tmp_path, steps=2, staleness=0)
    collecting = parts.events.index("collect 1")
    assert parts.events[collecting + 1] == "the last turn"
    assert "evaluated 0" not in parts.events
