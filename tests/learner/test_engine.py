"""The engine under real DeepSpeed: no split of the batch, and no restart, changes the weights."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from common.presets import PRESETS, Preset
from tests.learner import naive_grpo
from tests.learner.engine_ranks import CONFIG, SEED, STEPS, TOTAL_UPDATES, Case, run_cases
from tests.learner.learner_tools import make_samples, tiny_policy

pytestmark = pytest.mark.timeout(600)  # the first test waits for all cases; a busy machine takes its time

Weights = dict[str, Tensor]
NAMES: tuple[Preset, ...] = get_args(Preset)

ONE_RANK = (
    Case("1-rank"),
    Case("1-rank-small-batches", settings={"batch_tokens": 70}),
    Case("1-rank-one-by-one", settings={"batch_tokens": 1}),
    Case("1-rank-zero-1", zero_stage=1, settings={"batch_tokens": 100}),
    Case("1-rank-row-by-row", chunk_rows=1),
    Case("1-rank-7-rows", chunk_rows=7, settings={"batch_tokens": 100}),
    Case("1-rank-checkpointing", settings={"gradient_checkpointing": True}),
    Case("1-rank-compiled", settings={"compile": True}),
    Case("1-rank-deterministic", settings={"deterministic": True}),
    Case("1-rank-resumed", reload_after=2),
    Case("1-rank-7-samples", samples=7),
    Case("1-rank-1-sample", samples=1),
)
TWO_RANKS = (
    *(Case(f"2-ranks-zero-{stage}", zero_stage=stage, settings={"batch_tokens": 70}) for stage in range(4)),
    *(
        Case(f"2-ranks-zero-{s}-resumed", zero_stage=s, reload_after=2, settings={"batch_tokens": 70})
        for s in (2, 3)
    ),
    Case("2-ranks-offload", zero_stage=2, settings={"zero_offload": "optimizer"}),
    Case("2-ranks-7-samples", samples=7, settings={"batch_tokens": 100}),
    Case("2-ranks-1-sample", samples=1, zero_stage=2),
)


#: Cut finely, on two ranks, against all in one pass on one.
FINELY = {"batch_tokens": 60}
SGD = {"optimizer": {"learning_rate": 0.05, "max_grad_norm": 1000.0, "schedule": "constant"}}
ONE_RANK += (
    Case("1-rank-sgd", sgd=True, settings=SGD),
    Case("1-rank-sgd-one-by-one", sgd=True, settings=SGD | {"batch_tokens": 1}),
    Case("1-rank-sgd-row-by-row", sgd=True, chunk_rows=1, settings=SGD),
    Case("1-rank-lora", settings={"lora": {"rank": 2}}),
    Case("1-rank-lora-resumed", reload_after=2, settings={"lora": {"rank": 2}}),
    *(Case(f"1-rank-{name}", settings=PRESETS[name]) for name in NAMES),
)
TWO_RANKS += (
    *(Case(f"2-ranks-sgd-zero-{stage}", zero_stage=stage, sgd=True, settings=SGD | FINELY) for stage in range(4)),
    Case("2-ranks-lora", zero_stage=2, settings={"lora": {"rank": 2}} | FINELY),
    *(
        Case(f"2-ranks-{name}", zero_stage=number % 4, chunk_rows=5, settings=PRESETS[name] | FINELY)
        for number, name in enumerate(NAMES)
    ),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("engine")
    with ThreadPoolExecutor() as pool:
        one, two = pool.submit(run_cases, 1, ONE_RANK, folder), pool.submit(run_cases, 2, TWO_RANKS, folder)
        return one.result() | two.result()


def farthest(one: Weights, other: Weights) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).detach().abs().max()) for name in one)


def start() -> Weights:
    return {name: p.detach() for name, p in tiny_policy(0).model.named_parameters()}


def test_five_steps_equal_a_plain_torch_loop(runs: dict[str, Any]) -> None:
    model = tiny_policy(0).model
    reference, norms = naive_grpo.train(
        model, lambda step: make_samples(8, step), STEPS, CONFIG, SEED, TOTAL_UPDATES
    )
    weights = {name: p.detach() for name, p in model.named_parameters()}
    assert farthest(start(), weights) > 2e-3  # it did learn: the tolerance below is a small part of the way
    assert farthest(runs["1-rank"]["weights"], weights) < 1e-5
    assert farthest(runs["1-rank"]["reference"], reference) < 1e-5
    means = [(norms[2 * step] + norms[2 * step + 1]) / 2 for step in range(STEPS)]
    assert min(norms) < CONFIG.optimizer.max_grad_norm < max(norms)  # AdamW and clipping alone would hide a scale
    assert [m["optim/grad_norm"] for m in runs["1-rank"]["metrics"]] == pytest.approx(means, rel=1e-4)


@pytest.mark.parametrize(
    "split",
    [
        *(case.name for case in ONE_RANK[1:9]),
        *(f"2-ranks-zero-{stage}" for stage in range(4)),
        "2-ranks-offload",
    ],
)
def test_no_split_changes_the_weights(runs: dict[str, Any], split: str) -> None:
    assert farthest(runs[split]["weights"], runs["1-rank"]["weights"]) < 1e-5
    assert farthest(runs[split]["reference"], runs["1-rank"]["reference"]) < 1e-5


@pytest.mark.parametrize(
    "split", ["1-rank-sgd-one-by-one", "1-rank-sgd-row-by-row", *(f"2-ranks-sgd-zero-{s}" for s in range(4))]
)
def test_no_split_changes_the_weights_of_gradient_descent(runs: dict[str, Any], split: str) -> None:
    assert farthest(runs["1-rank-sgd"]["weights"], start()) > 2e-3
    assert farthest(runs[split]["weights"], runs["1-rank-sgd"]["weights"]) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_no_split_changes_what_a_published_algorithm_does(runs: dict[str, Any], name: str) -> None:
    one, two = runs[f"1-rank-{name}"], runs[f"2-ranks-{name}"]
    assert farthest(one["weights"], start()) > 2e-3
    assert farthest(one["weights"], two["weights"]) < 1e-5
    for mine, theirs in zip(one["metrics"], two["metrics"], strict=True):
        for key in mine.keys() - {"seconds/score", "seconds/backward", "seconds/optimizer"}:
            assert theirs[key] == pytest.approx(mine[key], rel=1e-4, abs=1e-5), key


def test_adapters_change_the_weights_that_leave_and_nothing_else(runs: dict[str, Any]) -> None:
    one = runs["1-rank-lora"]["weights"]
    assert one.keys() == start().keys()
    moved = {name for name, weight in start().items() if not torch.equal(weight, one[name])}
    assert moved == {name for name in one if "_proj.weight" in name}
    assert farthest(one, runs["2-ranks-lora"]["weights"]) < 1e-5
    resumed = runs["1-rank-lora-resumed"]["weights"]
    assert all(torch.equal(one[name], resumed[name]) for name in one)


@pytest.mark.parametrize("samples", ["7-samples", "1-sample"])
def test_uneven_shares_change_nothing(runs: dict[str, Any], samples: str) -> None:
    one, two = runs[f"1-rank-{samples}"], runs[f"2-ranks-{samples}"]
    assert farthest(one["weights"], two["weights"]) < 1e-5
    assert farthest(one["weights"], start()) > 2e-3


@pytest.mark.parametrize("run", ["1-rank", "2-ranks-zero-2", "2-ranks-zero-3"])
def test_saving_and_loading_on_the_way_is_bitwise_invisible(runs: dict[str, Any], run: str) -> None:
    straight, resumed = runs[run], runs[f"{run}-resumed"]
    for part in ("weights", "reference"):
        for name, tensor in straight[part].items():
            assert torch.equal(tensor, resumed[part][name]), f"{part}: {name}"


def test_reference_is_mixed_after_its_interval_and_not_before(runs: dict[str, Any]) -> None:
    reference = runs["1-rank"]["reference"]
    assert farthest(reference, start()) > 1e-3
    assert farthest(reference, runs["1-rank"]["weights"]) > 1e-3
    kl = [step["policy/kl"] for step in runs["1-rank"]["metrics"]]
    assert kl[0] > 0


@pytest.mark.parametrize(
    "split", ["1-rank-small-batches", "1-rank-row-by-row", "2-ranks-zero-0", "2-ranks-zero-3"]
)
@pytest.mark.parametrize(
    "key",
    [
        "policy/loss",
        "policy/kl",
        "policy/ratio_mean",
        "policy/clip_fraction",
        "policy/entropy",
        "policy/estimator_variance",
    ],
)
def test_metrics_do_not_depend_on_the_split(runs: dict[str, Any], split: str, key: str) -> None:
    for one, other in zip(runs["1-rank"]["metrics"], runs[split]["metrics"], strict=True):
        assert other[key] == pytest.approx(one[key], abs=1e-6, rel=1e-6)


@pytest.mark.parametrize(
    "split", ["1-rank-zero-1", "1-rank-small-batches", *(f"2-ranks-zero-{stage}" for stage in range(4))]
)
def test_gradient_norms_do_not_depend_on_the_split(runs: dict[str, Any], split: str) -> None:
    found, expected = ([m["optim/grad_norm"] for m in runs[name]["metrics"]] for name in (split, "1-rank"))
    assert found == pytest.approx(expected, rel=1e-4)


def test_first_step_metrics_have_their_known_values(runs: dict[str, Any]) -> None:
    first = runs["1-rank"]["metrics"][0]
    assert first["policy/valid_tokens"] == sum(s.valid_tokens for s in make_samples(8))
    assert first["optim/grad_norm"] > 0
    assert 0 <= first["policy/clip_fraction"] < 1


@pytest.mark.parametrize("run", ["1-rank", "2-ranks-zero-2", "2-ranks-zero-3"])
def test_published_buckets_hold_the_whole_weights(runs: dict[str, Any], run: str) -> None:
    assert farthest(runs[run]["published"], runs[run]["weights"]) == 0
    assert farthest(runs[run]["listed"], runs[run]["weights"]) == 0


def test_a_checkpoint_without_engine_state_is_refused(runs: dict[str, Any]) -> None:
    assert "holds no engine state" in runs["1-rank"]["refusal"]
