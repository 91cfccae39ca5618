"""The arithmetic of a learner's memory, against what the engine's ranks hold."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from common.likelihood.full_mask import FullMaskEstimator
from common.models import precision
from common.models.published import PUBLISHED
from common.models.shapes import parameter_shapes
from common.models.transformer import MaskedDiffusionModel
from learner.batch import pack_views
from learner.checkpoint_size import checkpoint_bytes
from learner.memory import FORWARD, GRADIENTS, START, STEPPED, largest_micro_batch, learner_memory
from learner.partition import Piece
from learner.policy import Policy
from tests.learner.learner_tools import make_samples, tiny_policy
from tests.learner.memory_ranks import CHECKPOINT, COMPLETION, MODEL, PROMPT, Case, measure

pytestmark = pytest.mark.timeout(400)  # the first test waits for all cases

#: Samples of a group.
GROUP = 4
BF16 = {"weights_dtype": "bfloat16"}
CASES = (
    Case("zero-0", {"zero_stage": 0}),
    Case("zero-0-every-activation", {"zero_stage": 0, "gradient_checkpointing": False}),
    *(Case(f"zero-{stage}", {"zero_stage": stage}) for stage in (2, 3)),
    *(Case(f"zero-{stage}-bf16", {"zero_stage": stage} | BF16) for stage in (1, 2, 3)),
)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    folder: Path = tmp_path_factory.mktemp("memory")
    return measure(CASES, folder)


@pytest.mark.parametrize("moment", [START, FORWARD, GRADIENTS, STEPPED])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_estimate_is_within_a_tenth_of_what_a_rank_holds(
    held: dict[str, dict[str, int]], case: Case, moment: str
) -> None:
    batch = largest_micro_batch(case.config, PROMPT, COMPLETION, GROUP)
    estimate = learner_memory(MODEL, case.config, case.bf16, batch, on_gpu=False)
    assert estimate.at(moment) == pytest.approx(held[case.name][moment], rel=0.1)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_size_of_a_checkpoint_is_known_beforehand(held: dict[str, dict[str, int]], case: Case) -> None:
    size = checkpoint_bytes(MODEL, case.config, case.bf16)
    assert size == pytest.approx(held[case.name][CHECKPOINT], rel=0.02)


@pytest.mark.parametrize("changes", [{}, {"family": "llama"}, {"tie_word_embeddings": False}])
def test_shapes_are_those_of_the_model(
    make_model: Callable[..., MaskedDiffusionModel], changes: dict[str, object]
) -> None:
    model = make_model(**changes)
    expected = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert parameter_shapes(model.config) == expected
    assert list(parameter_shapes(model.config)) == list(expected)


def test_the_largest_micro_batch_is_what_fits_or_what_must_stay_together() -> None:
    case = Case("any", {"batch_tokens": 6 * (PROMPT + COMPLETION)})
    two_samples = largest_micro_batch(case.config, PROMPT, COMPLETION, GROUP)
    # The masked completion once, and of each sample a pair of views, which measures each token once.
    assert (two_samples.tokens, two_samples.rows) == (5 * (PROMPT + COMPLETION), (1 + 2) * COMPLETION)
    views_apart = Case("any", {"batch_tokens": 500, "estimator": "left_to_right"})
    assert largest_micro_batch(views_apart.config, PROMPT, COMPLETION, GROUP).rows == 500 // (PROMPT + COMPLETION)
    pair = Case("any", {"batch_tokens": 1, "estimator": "elbo", "objective": "vrpo"})
    assert largest_micro_batch(pair.config, PROMPT, COMPLETION, GROUP).tokens == 4 * (PROMPT + COMPLETION)
    group = Case("any", {"batch_tokens": 1, "estimator": "elbo", "objective": "stable_drl"})
    for size in (GROUP, 9):
        found = largest_micro_batch(group.config, PROMPT, COMPLETION, size)
        assert found.tokens == 2 * size * (PROMPT + COMPLETION)
    draw = Case("any", {"batch_tokens": 1, "estimator": "elbo_systematic", "objective": "bgpo"})
    assert largest_micro_batch(draw.config, PROMPT, COMPLETION, GROUP).tokens == PROMPT + COMPLETION


def test_parts_add_up_to_what_a_7b_run_was_found_to_need() -> None:
    """ZeRO-2 on 8 ranks, in GB: fp32 weights 30.5, bf16 ones half of that, and shares of the optimizer 15.2."""
    model = PUBLISHED["apple/DiffuCoder-7B-Instruct"]
    settings = {"zero_stage": 2, "ranks": 8, "batch_tokens": 4096}

    def gigabytes(weights: str) -> dict[str, float]:
        config = Case("any", settings | {"weights_dtype": weights}).config
        estimate = learner_memory(model, config, True, largest_micro_batch(config, 200, 256, 10), on_gpu=True)
        return {part.name: part.bytes / 1e9 for part in estimate.parts if GRADIENTS in part.moments}

    fp32, bf16 = gigabytes("float32"), gigabytes("bfloat16")
    assert fp32["weights"] == pytest.approx(30.5, abs=0.05)
    assert bf16["weights"] == pytest.approx(15.2, abs=0.05)
    shares = ("fp32 master weights", "Adam's averages", "gradients")
    assert sum(bf16[name] for name in shares) == pytest.approx(15.2, abs=0.05)


class MallInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
    )]  # fmt: skip


def allocated() -> int:
    """Bytes that this process has from malloc: what autocast keeps is no object of Python's."""
    library = ctypes.CDLL(None)
    library.mallinfo2.restype = MallInfo
    found = library.mallinfo2()
    return int(found.uordblks + found.hblkhd)


def test_no_rounded_copy_of_a_weight_outlives_its_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_multiplies_bf16", lambda: True)
    policy = tiny_policy(config=MODEL, dtype=torch.bfloat16)
    policy.model.checkpoint_layers = True
    samples = make_samples(1)
    views = [FullMaskEstimator(0.0).views(samples[0].key(0, 0), samples[0])]
    packed = pack_views([Piece(samples[0], (0,))], views, 0, torch.device("cpu"))
    at_head: list[int] = []
    policy.model.lm_head.register_forward_pre_hook(lambda *_: at_head.append(allocated()))
    policy(Policy.log_probs, packed)  # takes what torch takes once
    before = allocated()
    policy(Policy.log_probs, packed)
    layers = sum(p.numel() for layer in policy.model.model.layers for p in layer.parameters())
    assert at_head[-1] - before < 2 * layers / 4
