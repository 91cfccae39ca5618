"""The engine of the stages under real DeepSpeed, against a plain loop over documents and against itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from common.config import LoraConfig
from common.flops import training_flops
from tests.learner.learner_tools import CONFIG, tiny_policy
from tests.learner.stages import naive_denoising
from tests.learner.stages.stage_ranks import TOTAL_STEPS, Case, run_cases

pytestmark = pytest.mark.timeout(300)  # the first test waits for all cases; a busy machine takes its time

HALF_WAY = {"annealing_steps": 10}
PAPER = {"truncate_share": 0.5, "prefix_share": 0.5}
PHASE_IN = {"phase_in_epochs": 1.0, "pad_weight": 0.25}
#: Each is compared with the plain loop.
CASES = {
    "shift": Case(),
    "no-shift": Case(shift=False),
    "masked": Case({"normalization": "masked"}),
    "causal": Case({"annealing_steps": 10**9}),
    "half-way": Case(HALF_WAY, first=4),
    "half-way-no-shift": Case(HALF_WAY, first=4, shift=False),
    "annealed": Case(HALF_WAY, first=9),
    "truncated": Case({"truncate_share": 0.7, "normalization": "masked"}),
    "prefix": Case({"prefix_share": 0.7}),
    "paper": Case(PAPER | HALF_WAY, first=4, shift=False),
    "examples": Case(kind="examples"),
    "padded": Case({"pad_weight": 0.25}, kind="padded"),
    "phase-in": Case(PHASE_IN | {"normalization": "masked"}, kind="padded", epochs=0.5),
    "phase-in-no-shift": Case(PHASE_IN, kind="examples", epochs=0.5, shift=False),
    "one": Case(kind="one"),
    "adamw": Case(HALF_WAY | PAPER, sgd=False, steps=4),
}


def split(name: str, **learner: Any) -> Case:
    """The same steps in other micro-batches, or on other ranks."""
    return replace(CASES[name], learner={"batch_tokens": 30, **learner}, chunk_rows=3)


ONE_RANK = CASES | {
    "half-way: one by one": replace(CASES["half-way"], learner={"batch_tokens": 1}, chunk_rows=1),
    "half-way: checkpointing": split("half-way", gradient_checkpointing=True),
    "adamw: resumed": replace(CASES["adamw"], reload_after=1),
    "peak known": replace(CASES["shift"], learner={"peak_tflops": 0.5}),
    "adamw: adapters": replace(CASES["adamw"], learner={"lora": LoraConfig(rank=2)}),
}
TWO_RANKS = {
    **{f"half-way: ZeRO {stage}": split("half-way", zero_stage=stage) for stage in range(4)},
    **{f"phase-in: ZeRO {stage}": split("phase-in", zero_stage=stage) for stage in (0, 3)},
    "truncated: ZeRO 1": split("truncated", zero_stage=1),
    "paper: ZeRO 3": split("paper", zero_stage=3, gradient_checkpointing=True),
    "nothing to predict": Case(kind="single tokens", learner={"zero_stage": 3}),
    "one: ZeRO 0": split("one"),
    "one: ZeRO 3": split("one", zero_stage=3),
    "adamw: ZeRO 2": split("adamw", zero_stage=2, zero_offload="optimizer"),
    "adamw: ZeRO 3": split("adamw", zero_stage=3),
    "adamw: ZeRO 3, resumed": replace(split("adamw", zero_stage=3), reload_after=0),
}
SPLITS = [name for name in (*ONE_RANK, *TWO_RANKS) if ":" in name and "adapters" not in name]
WALL_TIMES = {"seconds/forward_backward", "seconds/optimizer", "perf/tokens_per_second"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("stages")
    with ThreadPoolExecutor() as pool:
        one = pool.submit(run_cases, 1, ONE_RANK, folder / "one")
        two = pool.submit(run_cases, 2, TWO_RANKS, folder / "two")
        return one.result() | two.result()


def farthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max((tensor - other[name]).detach().abs().max().item() for name, tensor in one.items())


def start(case: Case) -> Any:
    return tiny_policy(0, CONFIG.model_copy(update={"shift": case.shift})).model


@pytest.mark.parametrize("name", CASES)
def test_loss_metrics_and_gradients_equal_a_loop_over_documents(runs: dict[str, Any], name: str) -> None:
    case, found = CASES[name], runs[name]
    model = start(case)
    weights, metrics = naive_denoising.train(
        model, case.segments, case.config, case.first, case.steps, case.epochs_at, TOTAL_STEPS, case.sgd
    )
    for mine, theirs in zip(found["metrics"], metrics, strict=True):
        assert mine["denoising/loss"] == pytest.approx(theirs["denoising/loss"], rel=1e-6, abs=1e-6)
        assert {key: mine[key] for key in theirs} == pytest.approx(theirs, rel=1e-5)
        extra = {"denoising/visible_share"} if case.config.stage == "adapt" else set()
        assert mine.keys() - theirs.keys() == WALL_TIMES | extra
    assert farthest(dict(model.named_parameters()), weights) > 1e-3  # there was a gradient
    assert farthest(found["weights"], weights) < 1e-5


@pytest.mark.parametrize("name", ["shift", "no-shift", "padded"])
def test_evaluation_equals_a_loop_over_documents(runs: dict[str, Any], name: str) -> None:
    case = CASES[name]
    expected = naive_denoising.held_out(start(case), case.segments(100), case.config)
    assert runs[name]["before"] == pytest.approx(expected, rel=1e-6)
    assert runs[name]["after"] != runs[name]["before"]


def test_evaluation_sees_everything_while_training_does_not(runs: dict[str, Any]) -> None:
    assert runs["causal"]["before"] == runs["shift"]["before"]
    assert runs["half-way"]["metrics"][0]["denoising/visible_share"] == 0.5
    assert runs["half-way"]["metrics"][0]["denoising/loss"] != runs["annealed"]["metrics"][0]["denoising/loss"]


@pytest.mark.parametrize("name", SPLITS)
def test_neither_ranks_nor_batches_nor_a_checkpoint_change_a_thing(runs: dict[str, Any], name: str) -> None:
    whole, found = runs[name.partition(":")[0]], runs[name]
    assert farthest(whole["weights"], found["weights"]) < 1e-5
    for moment in ("before", "after"):
        assert found[moment] == pytest.approx(whole[moment], rel=1e-5)
    for mine, theirs in zip(found["metrics"], whole["metrics"], strict=True):
        assert mine.keys() == theirs.keys()
        rest = mine.keys() - WALL_TIMES
        assert {key: mine[key] for key in rest} == pytest.approx({key: theirs[key] for key in rest}, rel=1e-5)


@pytest.mark.parametrize(
    ("straight", "resumed"), [("adamw", "adamw: resumed"), ("adamw: ZeRO 3", "adamw: ZeRO 3, resumed")]
)
def test_a_resumed_run_ends_with_the_same_bits(runs: dict[str, Any], straight: str, resumed: str) -> None:
    for name, weight in runs[straight]["weights"].items():
        assert torch.equal(weight, runs[resumed]["weights"][name]), name
    assert runs[straight]["after"] == runs[resumed]["after"]


def test_a_step_with_nothing_to_predict_changes_nothing(runs: dict[str, Any]) -> None:
    found = runs["nothing to predict"]
    (metrics,) = found["metrics"]
    assert metrics["denoising/loss"] == metrics["optim/grad_norm"] == metrics["data/targets"] == 0
    assert farthest(dict(start(CASES["shift"]).named_parameters()), found["weights"]) == 0
    assert found["before"] == {}


def test_utilization_is_that_of_the_peak_in_the_time_of_the_step(runs: dict[str, Any]) -> None:
    case, (metrics,) = CASES["shift"], runs["peak known"]["metrics"]
    lengths = [len(segment) for segment in case.segments(0)]
    flops = training_flops(CONFIG, lengths, int(metrics["data/targets"]))
    seconds = metrics["seconds/forward_backward"] + metrics["seconds/optimizer"]
    assert metrics["perf/mfu"] == pytest.approx(flops / (seconds * 0.5e12))
    assert "perf/mfu" not in runs["shift"]["metrics"][0], "the peak of a CPU is not known"


def test_adapters_train_the_matrices_of_the_layers_alone(runs: dict[str, Any]) -> None:
    before = dict(start(CASES["adamw"]).named_parameters())
    after = runs["adamw: adapters"]["weights"]
    moved = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    assert moved == {name for name in before if "_proj.weight" in name}
