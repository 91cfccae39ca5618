"""The engine under real DeepSpeed: no split of the batch, and no restart, changes the weights."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from common.config import LearnerConfig
from common.metrics.registry import find
from common.presets import PRESETS, Preset
from learner.optimizer import learning_rate
from learner.samples import TrainingSample
from tests.learner import naive_grpo, naive_presets, user_parts
from tests.learner.engine_ranks import CONFIG, SEED, STEPS, TOTAL_UPDATES, Case, run_cases, sampled_groups
from tests.learner.learner_tools import make_samples, make_step, tiny_policy

pytestmark = pytest.mark.timeout(600)  # the first test waits for all cases; a busy machine takes its time

Weights = dict[str, Tensor]
NAMES: tuple[Preset, ...] = get_args(Preset)

#: Plain gradient descent: AdamW alone would hide the scale of a gradient.
SGD = {"optimizer": {"learning_rate": 0.05, "max_grad_norm": 1000.0, "schedule": "constant"}}
LORA = {"lora": {"rank": 2}}
MINIBATCHES = {"minibatches": 2}
PARTIAL: tuple[Preset, ...] = ("unigrpo", "gdpo")
#: Presets that one rank trains too, in one micro-batch; two ranks, in many, hold all of them to their twins.
ALONE: tuple[Preset, ...] = ("diffucoder_loo", "tracerl")
#: The reference of the second step is not the model at the start any more.
PRESET_STEPS = 2
BF16 = {"weights_dtype": "bfloat16"}
#: Steps that bf16 weights would lose: far shorter than the distance between two of them.
SMALL_STEPS = {"optimizer": {"learning_rate": 1e-4, "max_grad_norm": 1000.0, "schedule": "constant"}}
#: So far that the second update starts from weights whose squares are infinite; without ZeRO it is taken.
DIVERGING = {"optimizer": {"learning_rate": 1e9, "max_grad_norm": 2.0, "schedule": "constant"}}
YOURS = {"estimator": f"{user_parts.__name__}:Parts", "objective": f"{user_parts.__name__}:Reinforce"}
#: What gives texts of a few tokens more than one view, and no more than a few.
SHORT = {
    "tracerl": {"merged_steps": 2},
    "spg": {"block_length": 2},
    "stable_drl": {"block_length": 2},
    "bgpo": {"subsets": 3},
    "gdsd": {"mask_pairs": 2},
}
#: What keeps steps of gradient descent small, and ratios near their clips.
NEAR = {
    "gdsd": {"psi": 0.1, "clip": 0.5},
    "bgpo": {"clip": 0.02, "dual_clip": 1.05},
    "stable_drl": {"ratio_cap": 1.02},
}


def preset(name: Preset) -> dict[str, Any]:
    """A preset's settings, in no more iterations and minibatches than it takes to have old likelihoods."""
    settings = dict(PRESETS[name])
    return settings | {
        "estimator": {**settings["estimator"], **SHORT.get(name, {})},
        "objective": {**settings["objective"], **NEAR.get(name, {})},
        "inner_iterations": min(2, settings["inner_iterations"]),
        "minibatches": max(2, settings["minibatches"]),
        "reference_sync_steps": 1,
        "optimizer": {"learning_rate": 0.01, "max_grad_norm": 1000.0, "schedule": "linear"},
    }


def partial(name: Preset) -> dict[str, Any]:
    """A preset whose estimator leaves tokens out, in one update: all ratios are 1."""
    return preset(name) | {"inner_iterations": 1, "minibatches": 1}


ONE_RANK = (
    Case("1-rank", resume_after=2, sleeps=True),
    Case("1-rank-zero-1", zero_stage=1, chunk_rows=7, settings={"batch_tokens": 100}),
    Case("1-rank-compiled", settings={"compile": True}),
    Case("1-rank-1-sample", samples=1),
    Case("1-rank-sgd", sgd=True, settings=SGD),
    Case("1-rank-sgd-one-by-one", sgd=True, chunk_rows=1, settings=SGD | {"batch_tokens": 1}),
    Case("1-rank-metered", metered=True),
    Case("1-rank-lora", resume_after=2, settings=LORA),
    Case("1-rank-small-steps", steps=2, sgd=True, computes_bf16=True, settings=SMALL_STEPS),
    Case(
        "1-rank-bf16-small-steps-compiled",
        steps=2,
        zero_stage=2,
        sgd=True,
        computes_bf16=True,
        settings=SMALL_STEPS | BF16 | {"compile": True},
    ),
    Case("1-rank-bf16-lora", steps=3, zero_stage=2, computes_bf16=True, settings=BF16 | LORA),
    Case("1-rank-yours", settings=YOURS),
    Case("1-rank-yours-cut", chunk_rows=5, settings=YOURS | {"batch_tokens": 60}),
    *(Case(f"1-rank-{name}", None, PRESET_STEPS, sgd=True, settings=preset(name)) for name in ALONE),
    *(Case(f"1-rank-{name}-once", samples=None, steps=1, settings=partial(name)) for name in PARTIAL),
    Case("1-rank-minibatches", resume_after=2, settings=MINIBATCHES),
    Case("1-rank-diverged", steps=2, settings=DIVERGING),
    # Last: the choice of kernels is the process's.
    Case("1-rank-checkpointing", settings={"gradient_checkpointing": True, "deterministic": True}),
)
TWO_RANKS = (
    *(
        Case(f"2-ranks-zero-{stage}", zero_stage=stage, resume_after=2, sleeps=True, settings={"batch_tokens": 70})
        for stage in (2, 3)
    ),
    Case("2-ranks-zero-3-metered", zero_stage=3, metered=True, settings={"batch_tokens": 70}),
    Case("2-ranks-offload", zero_stage=2, settings={"zero_offload": "optimizer"}),
    Case("2-ranks-1-sample", samples=1, zero_stage=2),
    *(
        Case(f"2-ranks-sgd-zero-{stage}", zero_stage=stage, sgd=True, settings=SGD | {"batch_tokens": 60})
        for stage in (0, 1, 3)
    ),
    *(
        Case(
            f"2-ranks-bf16-small-steps-zero-{stage}",
            steps=2,
            zero_stage=stage,
            sgd=True,
            computes_bf16=True,
            settings=SMALL_STEPS | BF16 | {"batch_tokens": 60, "gradient_checkpointing": True},
        )
        for stage in (1, 2, 3)
    ),
    *(
        Case(
            f"2-ranks-bf16-zero-{stage}",
            steps=3,
            zero_stage=stage,
            resume_after=1,
            sleeps=True,
            computes_bf16=True,
            settings=BF16 | {"batch_tokens": 70},
        )
        for stage in (1, 2, 3)
    ),
    Case(
        "2-ranks-bf16-offload",
        steps=3,
        zero_stage=3,
        computes_bf16=True,
        settings=BF16 | {"batch_tokens": 70, "zero_offload": "all"},
    ),
    Case("2-ranks-lora", zero_stage=2, settings=LORA | {"batch_tokens": 60}),
    *(
        Case(
            f"2-ranks-{name}",
            samples=None,
            steps=PRESET_STEPS,
            sgd=True,
            zero_stage=number % 4,
            chunk_rows=5,
            settings=preset(name) | {"batch_tokens": 60},
        )
        for number, name in enumerate(NAMES)
    ),
    *(
        Case(f"2-ranks-{name}-once", samples=None, steps=1, settings=partial(name) | {"batch_tokens": 60})
        for name in PARTIAL
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
        "1-rank-zero-1",
        "1-rank-compiled",
        "1-rank-checkpointing",
        "2-ranks-zero-2",
        "2-ranks-zero-3",
        "2-ranks-offload",
    ],
)
def test_no_split_changes_the_weights_or_the_metrics(runs: dict[str, Any], split: str) -> None:
    whole, cut = runs["1-rank"], runs[split]
    assert farthest(cut["weights"], whole["weights"]) < 1e-5
    assert farthest(cut["reference"], whole["reference"]) < 1e-5
    same_metrics(whole, cut)


@pytest.mark.parametrize("split", ["1-rank-sgd-one-by-one", *(f"2-ranks-sgd-zero-{s}" for s in (0, 1, 3))])
def test_no_split_changes_the_weights_of_gradient_descent(runs: dict[str, Any], split: str) -> None:
    assert farthest(runs["1-rank-sgd"]["weights"], start()) > 2e-3
    assert farthest(runs[split]["weights"], runs["1-rank-sgd"]["weights"]) < 1e-5
    same_metrics(runs["1-rank-sgd"], runs[split])


@pytest.fixture(scope="module")
def twins() -> dict[str, tuple[Weights, list[dict[str, float]]]]:
    """Every preset in a plain loop: the weights and the metrics that it ends with."""
    found = {}
    for name in NAMES:
        model = tiny_policy(0).model
        config = LearnerConfig.model_validate({**CONFIG.model_dump(), **preset(name)})
        metrics = naive_presets.train(model, make_step, PRESET_STEPS, config, SEED, TOTAL_UPDATES)
        found[name] = ({key: p.detach() for key, p in model.named_parameters()}, metrics)
    return found


@pytest.mark.parametrize(
    ("ranks", "name"), [*(("1-rank", name) for name in ALONE), *(("2-ranks", name) for name in NAMES)]
)
def test_presets_equal_a_plain_loop(runs: dict[str, Any], twins: dict[str, Any], name: str, ranks: str) -> None:
    weights, metrics = twins[name]
    run = runs[f"{ranks}-{name}"]
    assert farthest(weights, start()) > 1e-3
    assert farthest(run["weights"], weights) < 1e-6
    for mine, theirs in zip(run["metrics"], metrics, strict=True):
        assert {key: mine[key] for key in theirs} == pytest.approx(theirs, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("ranks", ["1-rank", "2-ranks"])
@pytest.mark.parametrize("name", PARTIAL)
def test_metrics_are_means_of_what_was_measured(runs: dict[str, Any], name: str, ranks: str) -> None:
    (metrics,) = runs[f"{ranks}-{name}-once"]["metrics"]
    assert metrics["policy/ratio_mean"] == 1.0
    assert metrics["policy/clip_fraction"] == 0.0


def test_minibatches_are_updates_of_their_own_against_the_weights_at_the_start(runs: dict[str, Any]) -> None:
    run = runs["1-rank-minibatches"]
    updates = MINIBATCHES["minibatches"] * CONFIG.inner_iterations
    assert run["updates"] == STEPS * updates
    rates = [step["optim/learning_rate"] for step in run["metrics"]]
    last = [learning_rate(CONFIG.optimizer, updates * (step + 1) - 1, TOTAL_UPDATES) for step in range(STEPS)]
    assert rates == pytest.approx(last)
    assert all(step["policy/kl"] > 0 for step in runs["1-rank-tracerl"]["metrics"])


def test_no_reference_is_held_for_a_kl_to_the_start_of_the_step(runs: dict[str, Any]) -> None:
    assert not runs["1-rank-tracerl"]["reference"]


def same_metrics(whole: dict[str, Any], cut: dict[str, Any]) -> None:
    for mine, theirs in zip(whole["metrics"], cut["metrics"], strict=True):
        assert mine.keys() == theirs.keys()
        for key in mine.keys() - {"seconds/log_probs", "seconds/backward", "seconds/optimizer"}:
            assert theirs[key] == pytest.approx(mine[key], rel=1e-4, abs=1e-5), key


def test_parts_of_the_user_train(runs: dict[str, Any]) -> None:
    whole = runs["1-rank-yours"]
    assert farthest(whole["weights"], start()) > 2e-3
    assert farthest(whole["weights"], runs["1-rank-yours-cut"]["weights"]) < 1e-5
    same_metrics(whole, runs["1-rank-yours-cut"])
    assert not whole["reference"]
    assert all(step["objective/log_likelihood"] < 0 for step in whole["metrics"])
    for key in whole["metrics"][0]:
        find(key)


def test_adapters_change_the_weights_that_leave_and_nothing_else(runs: dict[str, Any]) -> None:
    one = runs["1-rank-lora"]["weights"]
    assert one.keys() == start().keys()
    moved = {name for name, weight in start().items() if not torch.equal(weight, one[name])}
    assert moved == {name for name in one if "_proj.weight" in name}
    assert farthest(one, runs["2-ranks-lora"]["weights"]) < 1e-5
    resumed = runs["1-rank-lora-resumed"]["weights"]
    assert all(torch.equal(one[name], resumed[name]) for name in one)


@pytest.mark.parametrize(
    "name",
    [*(f"2-ranks-bf16-small-steps-zero-{stage}" for stage in (1, 2, 3)), "1-rank-bf16-small-steps-compiled"],
)
def test_bf16_weights_move_by_steps_that_bf16_alone_would_lose(runs: dict[str, Any], name: str) -> None:
    """The fp32 weights behind them follow those of a run that holds fp32 ones and rounds them at each use."""
    rounded = {name: tensor.bfloat16() for name, tensor in start().items()}
    wide = moved(runs["1-rank-small-steps"], rounded)
    lowered = moved(runs[name], rounded)
    for weight, step in wide.items():
        assert float((lowered[weight] - step).norm() / step.norm()) < 0.05, weight
    matrices = {key: weight for key, weight in rounded.items() if weight.ndim == 2}
    lost = [(weight + wide[key].bfloat16() == weight).float().mean() for key, weight in matrices.items()]
    assert min(lost) > 0.5


def moved(run: dict[str, Any], begin: Weights) -> Weights:
    """How far the fp32 weights of a run have come."""
    return {name: run["masters"][f"model.{name}"] - weight.float() for name, weight in begin.items()}


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_with_bf16_weights_what_is_computed_with_is_published_and_a_resumed_run_goes_on(
    runs: dict[str, Any], stage: int
) -> None:
    straight, resumed = runs[f"2-ranks-bf16-zero-{stage}"], runs[f"2-ranks-bf16-zero-{stage}-resumed"]
    for name, weight in straight["weights"].items():
        assert weight.dtype is torch.bfloat16
        assert torch.equal(weight, straight["masters"][f"model.{name}"].bfloat16()), name
        assert torch.equal(weight.float(), straight["published"][name]), name
    for part in ("weights", "masters", "reference"):
        assert straight[part].keys() == resumed[part].keys()
        for name, tensor in straight[part].items():
            assert torch.equal(tensor, resumed[part][name]), f"{part}: {name}"


def test_bf16_weights_go_with_offloading_and_adapters(runs: dict[str, Any]) -> None:
    near = runs["2-ranks-bf16-zero-3"]
    way = max(float(step.abs().max()) for step in moved(near, start()).values())
    assert farthest(runs["2-ranks-bf16-offload"]["masters"], near["masters"]) < way / 2
    adapted = runs["1-rank-bf16-lora"]["weights"]
    changed = {name for name, p in start().items() if not torch.equal(p.bfloat16().float(), adapted[name].float())}
    assert changed == {name for name in start() if "_proj.weight" in name}


def test_weights_that_are_not_finite_are_named_and_no_others(runs: dict[str, Any]) -> None:
    for name, run in runs.items():
        diverged = name.endswith("-diverged")
        assert run["not_finite"] == ("model.model.embed_tokens.weight" if diverged else None), name
        assert math.isfinite(sum(step["optim/grad_norm"] for step in run["metrics"])) is not diverged, name
        assert run["not_finite_on_one_rank"] == "second", name


@pytest.mark.parametrize("run", ["1-rank", "2-ranks-zero-3"])
def test_the_mismatch_of_a_rollout_is_that_of_a_plain_replay_and_to_measure_changes_nothing(
    runs: dict[str, Any], run: str
) -> None:
    metered = runs[f"{run}-metered"]
    same, trained = metered["mismatches"]
    assert same["mismatch/max"] < 1e-5
    assert same["mismatch/effective_share"] == pytest.approx(1.0)
    model = tiny_policy(0).model
    model.load_state_dict(metered["weights"], strict=False)  # the head is the embedding
    differences = replayed_differences(model)
    assert max(map(abs, differences)) > 1e-3
    weights = [math.exp(difference) for difference in differences]
    assert trained == pytest.approx(
        {
            "mismatch/mean": sum(map(abs, differences)) / len(differences),
            "mismatch/max": max(map(abs, differences)),
            "mismatch/kl": -sum(differences) / len(differences),
            "mismatch/effective_share": sum(weights) ** 2 / (len(weights) * sum(w * w for w in weights)),
        },
        abs=1e-5,
    )
    assert all(torch.equal(weight, metered["weights"][name]) for name, weight in runs[run]["weights"].items())
    assert [timeless(step) for step in metered["metrics"]] == [timeless(step) for step in runs[run]["metrics"]]


def replayed_differences(model: Any) -> list[float]:
    """log p by ``model``, less what the worker recorded, of the tokens of the one rollout that can be compared.

    One token at a time, on the canvas of its step.
    """
    rolled = sampled_groups()[1].rollouts
    assert rolled is not None
    (rollout,) = rolled.rollouts
    found = []
    for k, step in enumerate(rollout.step_map):
        if step >= 0:
            masked = [other < 0 or other >= step for other in rollout.executed_step_map]
            tokens = list(rollout.completion_ids)
            for position, token, _ in rollout.overwritten:
                tokens[position] = token
            text = TrainingSample.of(rolled.prompt_ids, rollout, group=1, sample=0, advantage=0.0)
            log_probs = naive_grpo.view_log_probabilities(
                model, replace(text, completion_ids=tuple(tokens)), masked
            )
            found.append(float(log_probs[k]) - rollout.model_logprobs[k])
    return found


def timeless(step: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in step.items() if not name.startswith("seconds/")}


def test_a_rank_without_samples_changes_nothing(runs: dict[str, Any]) -> None:
    one, two = runs["1-rank-1-sample"], runs["2-ranks-1-sample"]
    assert farthest(one["weights"], two["weights"]) < 1e-5
    assert farthest(one["weights"], start()) > 2e-3


@pytest.mark.parametrize("run", ["1-rank", "1-rank-minibatches", "2-ranks-zero-2", "2-ranks-zero-3"])
def test_saving_and_loading_on_the_way_is_bitwise_invisible(runs: dict[str, Any], run: str) -> None:
    straight, resumed = runs[run], runs[f"{run}-resumed"]
    for part in ("weights", "reference"):
        for name, tensor in straight[part].items():
            assert torch.equal(tensor, resumed[part][name]), f"{part}: {name}"


@pytest.mark.parametrize(
    "run",
    ["1-rank", *(f"2-ranks-zero-{stage}" for stage in (2, 3)), *(f"2-ranks-bf16-zero-{n}" for n in (1, 2, 3))],
)
def test_asleep_an_engine_has_nothing_where_it_computes(runs: dict[str, Any], run: str) -> None:
    """That all of it comes back, the runs show that were resumed, and did not sleep."""
    assert set(runs[run]["asleep"]) == {0}


def test_reference_is_mixed_after_its_interval_and_not_before(runs: dict[str, Any]) -> None:
    reference = runs["1-rank"]["reference"]
    assert farthest(reference, start()) > 1e-3
    assert farthest(reference, runs["1-rank"]["weights"]) > 1e-3
    kl = [step["policy/kl"] for step in runs["1-rank"]["metrics"]]
    assert kl[0] > 0


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
