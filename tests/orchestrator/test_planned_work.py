"""What a step of the learner computes and exchanges, counted from a recipe alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config import Config, load_config
from common.models.published import PUBLISHED
from learner.longest import longest_micro_batches
from learner.traffic import exchanged_bytes, pass_tokens, pass_tokens_sentence
from orchestrator.planning.computed import Hardware, UpdateWork, update_work

RECIPES = Path(__file__).parents[2] / "recipes"
MODEL = PUBLISHED["apple/DiffuCoder-7B-Instruct"]
PARAMETERS = 7.6e9
H100 = Hardware(peak=989.0)


def recipe(name: str, *overrides: str) -> Config:
    return load_config(RECIPES / f"{name}.yaml", list(overrides))


def exchange_share(work: UpdateWork) -> float:
    """The time of exchanges as a share of that of the operations."""
    computing = work.operations / (H100.peak * 1e12 * H100.update_share)
    return work.exchanged_bytes / (H100.link_gb * 1e9) / computing


@pytest.mark.parametrize(
    ("stage", "bytes_a_parameter"),
    # A gradient in fp32; bf16 weights twice; and the reference in bf16. Half of it comes from the other rank.
    [(0, 0), (1, 2), (2, 4 + 2), (3, 4 + 2 * 2 + 2)],
)
def test_bytes_of_a_micro_batch_by_stage(stage: int, bytes_a_parameter: int) -> None:
    held = "bfloat16" if stage else "float32"
    config = recipe(
        "diffucoder_8xh100",
        f"learner.zero_stage={stage}",
        "learner.zero_offload=none",
        f"learner.weights_dtype={held}",
    )
    found = exchanged_bytes(MODEL, config.learner, computes_bf16=True)
    assert found == pytest.approx(bytes_a_parameter * PARAMETERS / 2, rel=0.01)


def test_larger_micro_batches_exchange_less_and_share_more() -> None:
    small, large = (recipe("diffucoder_8xh100", f"learner.batch_tokens={n}") for n in (4096, 16384))
    counts = []
    for config in (small, large):
        shares = longest_micro_batches(config.learner, 200, 256, group_size=10, groups=8, ranks=2)
        counts.append((len(shares[0]), max(sum(batch.tokens for batch in share) for share in shares)))
    # Of 40 samples a rank: two views a sample, and a masked completion for each prompt of a micro-batch.
    assert counts == [(14, (19 + 2 * 40) * 456), (3, (6 + 2 * 40) * 456)]
    works = [update_work(config, MODEL) for config in (small, large)]
    assert works[1].exchanged_bytes / works[0].exchanged_bytes == 3 / 14
    assert works[1].operations < works[0].operations


@pytest.mark.parametrize("name", ["diffucoder_8xh100", "diffucoder_10x8h100"])
def test_micro_batches_of_the_recipes_are_large_enough_for_their_stage(name: str) -> None:
    assert exchange_share(update_work(recipe(name), MODEL)) < 0.1
    if name == "diffucoder_8xh100":
        assert exchange_share(update_work(recipe(name, "learner.batch_tokens=4096"), MODEL)) > 0.1


@pytest.mark.parametrize("name", ["diffucoder_8xh100", "diffucoder_10x8h100"])
def test_micro_batches_without_a_value_are_as_large_as_their_stage_needs(name: str) -> None:
    config = recipe(name, "learner.batch_tokens=null")
    assert exchange_share(update_work(config, MODEL)) < 0.1
    tokens = pass_tokens(config.learner)
    stage = f"{tokens:,} chosen, as ZeRO-{config.learner.zero_stage}"
    assert stage in pass_tokens_sentence(config.learner)
    alone = config.learner.model_copy(update={"ranks": 1})
    assert "exchange nothing" in pass_tokens_sentence(alone)


def test_more_is_exchanged_at_stage_3_on_more_ranks() -> None:
    learner = recipe("diffucoder_10x8h100", "learner.batch_tokens=null").learner
    chosen = [pass_tokens(learner.model_copy(update={"zero_stage": stage})) for stage in (1, 2, 3)]
    assert chosen == [12288, 12288, 20480]


def test_a_value_is_taken_and_the_choice_named() -> None:
    learner = recipe("diffucoder_8xh100", "learner.batch_tokens=7000").learner
    assert pass_tokens(learner) == 7000
    assert "7,000 as configured; without a value 12,288, as ZeRO-3 on 2 ranks" in pass_tokens_sentence(learner)
    cpu = learner.model_copy(update={"gpus_per_rank": 0.0, "batch_tokens": None})
    assert pass_tokens(cpu) == 16384
