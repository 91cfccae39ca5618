"""The order of a run: evaluations, steps, checkpoints and records, despite deaths, stops and divergence."""

from __future__ import annotations

import io
import json
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from common.config import ConfigError, StageConfig
from common.disk import DiskError
from learner.divergence import DivergedError
from learner.stages.segments import StageReport
from orchestrator.fleet.rank_group import LearnerDiedError
from orchestrator.interrupt import Interrupted, StopRequest
from orchestrator.report.display_plain import PlainDisplay
from orchestrator.run_folder import RunFolder
from orchestrator.run_recorder import RunOutput
from orchestrator.stages.stage_loop import StageRunLoop
from orchestrator.stages.stage_recorder import open_stage_recorder

STEPS = 6


@dataclass
class ScriptedRanks:
    """A group whose steps and evaluations find what a script says, and which die once where it says so.

    ``calls`` lists what it was asked for, with the version at the time.
    """

    folder: Path
    losses: dict[int, float] = field(default_factory=dict)
    held_out: dict[int, float] = field(default_factory=dict)
    measures: bool = True
    dies_at: set[int] = field(default_factory=set)
    calls: list[tuple[str, int]] = field(default_factory=list)
    on_step: Callable[[int], None] = lambda version: None
    version: int = 0
    restarts: int = 0
    leaving: bool = False
    states: dict[str, str] = field(default_factory=dict)
    addresses: list[str] = field(default_factory=list)
    _stepping: bool = False

    def step(self, checkpoint: bool, watch: Callable[[], None]) -> StageReport:
        if checkpoint:
            self.checkpoint()
        self.on_step(self.version)
        self._stepping = True
        watch()
        if self.version in self.dies_at:
            self.dies_at.remove(self.version)
            raise LearnerDiedError("learner-0: killed")
        return self._end_step()

    def interrupt(self) -> StageReport | None:
        return self._end_step() if self._stepping else None

    def evaluate(self, watch: Callable[[], None]) -> dict[str, float]:
        self.calls.append(("evaluate", self.version))
        return {"held_out/loss": self.held_out.get(self.version, 1.0)} if self.measures else {}

    def checkpoint(self) -> None:
        path = self.folder / "checkpoints" / f"step-{self.version:06d}"
        if self.version and not path.exists():
            path.mkdir(parents=True)
            self.calls.append(("checkpoint", self.version))

    def export(self, folder: Path) -> None:
        folder.mkdir()
        self.calls.append(("export", self.version))

    def restart(self, reason: str) -> str:
        self.restarts += 1
        self._stepping = False
        self.version = max((int(path.name[5:]) for path in self.folder.glob("checkpoints/step-*")), default=0)
        return f"restart {self.restarts}: {reason}"

    def _end_step(self) -> StageReport:
        self._stepping = False
        self.version += 1
        loss = self.losses.get(self.version, 2.0)
        return StageReport(self.version, {"denoising/loss": loss, "optim/grad_norm": 1.0, "data/tokens": 1.0})


@dataclass
class Started:
    loop: StageRunLoop
    ranks: ScriptedRanks
    folder: RunFolder
    output: io.StringIO

    def steps(self, name: str = "metrics") -> list[int]:
        return [record["step"] for record in self.folder.records(name)]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    folders = []

    def begin(run: dict[str, Any] | None = None, has_held_out: bool = True, **script: Any) -> Started:
        config = StageConfig.model_validate(
            {
                "stage": "pretrain",
                "run": {"folder": tmp_path, "steps": STEPS, **(run or {})},
                "model": {"path": "builtin:quickstart"},
                "data": {"sources": ["none.txt"]},
                "learner": {"checkpoint_steps": 2},
                "evaluation": {"every_steps": 3},
            }
        )
        text = io.StringIO()
        folder = RunFolder.open(config, resume=True)
        folders.append(folder)
        output = RunOutput(folder, PlainDisplay(Console(file=text, width=200)))
        ranks: Any = ScriptedRanks(tmp_path, **script)
        recorder = stack.enter_context(open_stage_recorder(config, output, ranks))
        return Started(StageRunLoop(config, ranks, has_held_out, recorder, stop), ranks, folder, text)

    with ExitStack() as stack, StopRequest() as stop:
        yield begin
        for folder in folders:
            folder.close()


def test_evaluations_come_before_after_and_every_few_steps(start: Callable[..., Started]) -> None:
    run = start()
    run.loop.run()
    assert run.steps() == [1, 2, 3, 4, 5, 6]
    assert run.steps("evaluations") == [0, 3, 6]
    assert run.ranks.calls == [
        ("evaluate", 0),
        ("checkpoint", 2),
        ("evaluate", 3),
        ("checkpoint", 4),
        ("evaluate", 6),
        ("checkpoint", 6),
    ]


def test_without_held_out_data_nothing_is_evaluated(start: Callable[..., Started]) -> None:
    run = start(has_held_out=False)
    run.loop.run()
    assert run.steps() == [1, 2, 3, 4, 5, 6]
    assert run.steps("evaluations") == []


def test_ranks_that_die_do_steps_again_and_each_is_recorded_once(start: Callable[..., Started]) -> None:
    run = start(dies_at={1, 3, 5})
    run.loop.run()
    assert run.steps() == [1, 2, 3, 4, 5, 6]
    assert run.steps("evaluations") == [0, 3, 6]
    assert run.folder.records("metrics")[-1]["restarts"] == 3.0
    assert "restart 2: learner-0: killed" in run.output.getvalue()


def test_a_request_to_stop_leaves_a_checkpoint_of_all_that_is_recorded(start: Callable[..., Started]) -> None:
    run = start(on_step=lambda version: signal.raise_signal(signal.SIGTERM) if version == 3 else None)
    with pytest.raises(Interrupted) as caught:
        run.loop.run()
    assert caught.value.exit_code == 128 + signal.SIGTERM
    assert run.steps() == [1, 2, 3, 4]
    assert run.ranks.calls[-1] == ("checkpoint", 4)
    assert "checkpoint of step 4; go on with --resume auto" in run.output.getvalue()


def test_a_pod_that_is_about_to_go_stops_the_stage_with_a_checkpoint(start: Callable[..., Started]) -> None:
    run = start(on_step=lambda version: setattr(run.ranks, "leaving", version == 3))
    with pytest.raises(Interrupted):
        run.loop.run()
    assert run.ranks.calls[-1] == ("checkpoint", 4)
    assert "a pod of the learner is about to be taken away" in run.output.getvalue()


def test_a_step_that_cannot_be_recorded_ends_the_run_and_no_checkpoint_holds_it(
    start: Callable[..., Started], tmp_path: Path
) -> None:
    def break_the_disk(version: int) -> None:
        if version == 4:
            for file in tmp_path.rglob("metrics.jsonl"):
                file.rename(file.with_suffix(".saved"))
                file.mkdir()

    run = start(on_step=break_the_disk)
    with pytest.raises(DiskError, match=r"metrics\.jsonl cannot be written: Is a directory"):
        run.loop.run()
    assert ("checkpoint", 5) not in run.ranks.calls
    assert "no new checkpoint: " in run.output.getvalue()
    assert run.output.getvalue().splitlines()[-1].endswith("checkpoint of step 4; go on with --resume auto")


@pytest.mark.parametrize("what", ["losses", "held_out"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_run_that_diverges_ends_there_and_names_a_checkpoint_from_before(
    start: Callable[..., Started], what: str, value: float
) -> None:
    run = start(**{what: {6: value}})
    with pytest.raises(
        DivergedError, match=rf"at step 6 is {value}: .*--resume \S*step-000004, and lower learner"
    ):
        run.loop.run()
    records = run.folder.records("metrics" if what == "losses" else "evaluations")
    assert not math.isfinite(records[-1]["denoising/loss" if what == "losses" else "held_out/loss"])
    assert ("checkpoint", 6) not in run.ranks.calls


def test_a_checkpoint_of_the_weights_that_diverged_is_not_named(start: Callable[..., Started]) -> None:
    run = start(losses={5: math.nan})
    with pytest.raises(DivergedError, match=r"at step 5 is nan: .*--resume \S*step-000002,"):
        run.loop.run()


def test_a_run_that_diverges_at_once_can_only_start_again(start: Callable[..., Started]) -> None:
    run = start(losses={1: math.nan})
    with pytest.raises(DivergedError, match="no checkpoint is from before; start again"):
        run.loop.run()


def test_an_interrupted_step_that_diverged_is_no_checkpoint(start: Callable[..., Started]) -> None:
    stop = lambda version: signal.raise_signal(signal.SIGINT) if version == 4 else None  # noqa: E731
    run = start(losses={5: math.nan}, on_step=stop)
    with pytest.raises(DivergedError):
        run.loop.run()
    assert run.steps() == [1, 2, 3, 4, 5]
    assert ("checkpoint", 5) not in run.ranks.calls


def test_the_best_weights_are_exported_when_they_improve(start: Callable[..., Started]) -> None:
    run = start(run={"keep_best": True}, held_out={0: 3.0, 3: 1.0, 6: 2.0})
    run.loop.run()
    assert [version for call, version in run.ranks.calls if call == "export"] == [0, 3]
    assert json.loads((run.folder.path / "best" / "best.json").read_text()) == {"step": 3, "value": 1.0}


def test_held_out_data_on_which_nothing_is_measured_is_refused_before_training(
    start: Callable[..., Started],
) -> None:
    run = start({"keep_best": True}, measures=False)
    with pytest.raises(
        ConfigError, match=r"data\.held_out_share: .* no token is masked at any of evaluation\.ratios"
    ):
        run.loop.run()
    assert run.steps() == []


def test_a_model_that_is_broken_from_the_start_is_named(start: Callable[..., Started]) -> None:
    run = start({"keep_best": True}, held_out={0: math.nan})
    with pytest.raises(DivergedError, match=r"held_out/loss is nan before any step: model\.path has weights that"):
        run.loop.run()
    assert run.ranks.calls == [("evaluate", 0)]
