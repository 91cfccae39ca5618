"""Ranks that have parts of the vocabulary find what one process finds that has the whole of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from common.models.config import ModelConfig
from common.models.transformer import MaskedDiffusionModel, initialize
from common.records import Completion, NoiseKey, Sampler
from rollout_workers.requests import Request
from rollout_workers.vocabulary import Vocabulary
from tests.learner.rank_processes import join_torch, run_ranks
from tests.rollout_workers.vocabulary_ranks import Found, Work, columns, find_in_parts, find_whole, label

WORLDS = (2, 3)
ROWS = 24
#: Of a model by whose logits no nucleus ends within rounding of ``top_p``, where the order of a sum decides.
SEED = 1
OUTSIDE = "tests.rollout_workers.vocabulary_ranks:gap_to_the_mean"
FILTERS: list[dict[str, Any]] = [
    {"top_p": 1.0},
    {"top_p": 0.95},
    {"top_p": 0.3},
    {"top_p": 1.0, "top_k": 5},
    {"top_p": 0.9, "top_k": 3},
    {"top_p": 0.99, "top_k": 25},
]
DECODERS: list[dict[str, Any]] = [
    {"decoder": "entropy"},
    {"decoder": "entropy", "decoder_temperature": 0.3},
    {"decoder": "topk_margin", "top_k": 8},
    {"decoder": "maskgit_plus"},
    {"decoder": "origin"},
    {"decoder": "low_confidence", "block_length": 7},
    {"decoder": "random", "block_length": 7},
    {"decoder": "threshold", "threshold": 0.3, "block_length": 7},
    {"decoder": "entropy", "block_length": 7, "approximate_cache": "dual"},
    {"decoder": OUTSIDE},
]
SAMPLERS = [
    Sampler(temperature=temperature, denoising_steps=1, completion_length=1, **filters)
    for temperature, filters in [*((1.2, filters) for filters in FILTERS), (0.0, FILTERS[1]), (0.0, FILTERS[4])]
]
RUNS = [
    Sampler.model_validate({"temperature": t, "denoising_steps": 4, "completion_length": 14} | case)
    for t, case in [*((1.2, case) for case in DECODERS), *((0.0, case) for case in DECODERS[2:6])]
]


def tables() -> dict[str, Tensor]:
    """Logits of some rows. Of three ranks the last has nothing but padding where there are 40 tokens."""
    generator = torch.Generator().manual_seed(0)

    def normal(vocabulary: int, std: float) -> Tensor:
        logits = torch.randn(ROWS, vocabulary, generator=generator) * std
        logits[:, [1, vocabulary // 2, vocabulary - 1]] = -torch.inf
        return logits

    return {
        "small": normal(40, 2.0),
        "flat and peaked": torch.cat([normal(700, 0.5)[::2], normal(700, 6.0)[::2]]),
        # In steps as coarse as those of bf16 logits about 40: most rows have several largest tokens.
        "tied": (normal(700, 1.0) * 4).round() / 4,
        # All of the mass in one part, or next to none in it.
        "lopsided": normal(700, 2.0) + 30 * (torch.arange(700) // 350 == torch.arange(ROWS).unsqueeze(1) % 2),
    }


def small_model() -> MaskedDiffusionModel:
    """Of 70 tokens, with logits that are far from uniform."""
    config = ModelConfig(
        vocab_size=70,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        mask_token_id=1,
        eos_token_id=0,
        pad_token_id=0,
    )
    model = MaskedDiffusionModel(config)
    initialize(model, torch.Generator().manual_seed(SEED), std=0.2)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def work() -> Work:
    uniforms = torch.rand(ROWS, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    uniforms[:4] = torch.tensor([0.0, 0.0, 1.0 - 2**-53, 1.0], dtype=torch.float64)
    damaged = torch.zeros(3, 40)
    damaged[1, 2] = torch.nan
    ids = np.random.default_rng(0)
    prompts = [tuple(ids.integers(2, 70, 1 + (5 * i) % 7).tolist()) for i in range(4)]
    requests = [Request(prompt, NoiseKey(11, "noise-train", (0, i, 0))) for i, prompt in enumerate(prompts)]
    return Work(tables(), uniforms, SAMPLERS, damaged, small_model(), requests, RUNS)


@pytest.fixture(scope="module")
def whole(work: Work) -> Found:
    return find_whole(work)


@pytest.fixture(scope="module")
def ranks(work: Work, tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Found]]:
    """What every rank found, by the number of ranks."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    run_ranks(max(WORLDS), find_in_parts, (WORLDS, work, folder), deadline=120.0, join=join_torch)
    return {
        world: [torch.load(folder / f"{world}-{rank}.pt", weights_only=False) for rank in range(world)]
        for world in WORLDS
    }


@pytest.mark.parametrize("world", WORLDS)
def test_all_ranks_find_the_same_to_the_last_bit(ranks: dict[int, list[Found]], world: int) -> None:
    first, *others = ranks[world]
    for other in others:
        assert repr_of(other) == repr_of(first)


def repr_of(found: Found) -> dict[str, Any]:
    """With numbers in place of tensors, which compare element by element."""

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.tolist()
        return {key: plain(item) for key, item in value.items()} if isinstance(value, dict) else value

    return {key: plain(value) for key, value in found.items()}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("table", tables())
def test_statistics_and_draws_are_those_of_whole_rows(
    whole: Found, ranks: dict[int, list[Found]], world: int, table: str
) -> None:
    for sampler in SAMPLERS:
        name = f"{table}: {label(sampler)}"
        expected, found = whole[name], ranks[world][0][name]
        assert found["tokens"].tolist() == expected["tokens"].tolist(), name
        for statistic in ("entropies", "margins", "probabilities", "logprobs", "model_logprobs"):
            torch.testing.assert_close(
                found[statistic],
                expected[statistic],
                atol=2e-6,
                rtol=2e-6,
                msg=lambda m, n=name, s=statistic: f"{n} {s}: {m}",
            )


@pytest.mark.parametrize("world", WORLDS)
def test_completions_are_those_of_one_process(whole: Found, ranks: dict[int, list[Found]], world: int) -> None:
    for sampler in RUNS:
        name = label(sampler)
        pairs = zip(ranks[world][0][name]["completions"], whole[name]["completions"], strict=True)
        for found, expected in pairs:
            assert exact(found) == exact(expected), name
            assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-5)
            assert found.model_logprobs == pytest.approx(expected.model_logprobs, abs=1e-5)
    assert ranks[world][0]["scored"] == pytest.approx(whole["scored"], abs=1e-5)


def exact(completion: Completion) -> tuple[Any, ...]:
    return completion.completion_ids, completion.step_map, completion.end, completion.forwards


@pytest.mark.parametrize("world", WORLDS)
def test_whole_rows_of_logits_are_gathered_for_a_decoder_from_outside_alone(
    ranks: dict[int, list[Found]], world: int
) -> None:
    """Else a rank sends a row's masses above seven floors, or its k largest weights, at most."""
    sent = {name: found["most numbers"] for name, found in ranks[world][0].items() if isinstance(found, dict)}
    assert {most for name, most in sent.items() if OUTSIDE in name} == {columns(70, world)}
    assert max(most for name, most in sent.items() if OUTSIDE not in name) == 25
    assert max(most for name, most in sent.items() if OUTSIDE not in name and '"top_k":0' in name) == 7


@pytest.mark.parametrize("world", WORLDS)
def test_every_rank_sees_which_row_has_logits_that_one_of_them_finds_damaged(
    ranks: dict[int, list[Found]], world: int
) -> None:
    """The engine refuses a batch in which a drawn token's log-probability is not finite."""
    assert [found["damaged"] for found in ranks[world]] == [[False, True, False]] * world


def test_columns_that_are_never_predicted_are_the_forbidden_tokens_and_the_padding() -> None:
    class Third:
        rank = 2

        def gather(self, tensor: Tensor) -> Tensor:
            raise NotImplementedError

    assert Vocabulary.whole(10).columns_never_predicted((9, 3)) == [9, 3]
    assert Vocabulary(10, 4, Third()).columns_never_predicted((9, 3)) == [1, 2, 3]
    assert Vocabulary(7, 4, Third()).columns_never_predicted((3,)) == [0, 1, 2, 3]
