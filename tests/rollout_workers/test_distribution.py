"""At temperature 1.2 the engine draws from the distribution that the decoder defines: chi-square on a toy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch

from common.models.transformer import MaskedDiffusionModel
from common.records import NoiseKey, Sampler
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.requests import Request
from tests.rollout_workers.exact_process import ExactProcess

MakeModel = Callable[..., MaskedDiffusionModel]
SAMPLES = 4000
PROMPT = (3, 2)


def p_value(observed: Counter[tuple[int, ...]], law: dict[tuple[int, ...], float]) -> float:
    """Of Pearson's chi-square test; outcomes expected fewer than 8 times are one class."""
    assert set(observed) <= set(law)
    assert sum(law.values()) == pytest.approx(1.0)
    total = sum(observed.values())
    common = [text for text, p in law.items() if p * total >= 8]
    pairs = [(observed[text], law[text] * total) for text in common]
    rest = total - sum(expected for _, expected in pairs)
    if rest > 8:
        pairs.append((total - sum(seen for seen, _ in pairs), rest))
    statistic = sum((seen - expected) ** 2 / expected for seen, expected in pairs)
    freedom = torch.tensor((len(pairs) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, torch.tensor(statistic / 2, dtype=torch.float64)))


@pytest.mark.parametrize(
    "case",
    [
        {"decoder": "entropy"},
        {"decoder": "entropy", "denoising_steps": 2, "top_p": 0.8},
        {"decoder": "entropy", "decoder_temperature": 0.5, "denoising_steps": 2},
        {"decoder": "topk_margin", "top_k": 3},
        {"decoder": "maskgit_plus", "denoising_steps": 2},
        {"decoder": "maskgit_plus", "decoder_temperature": 0.7},
        {"decoder": "low_confidence", "denoising_steps": 2, "top_p": 1.0},
        {"decoder": "origin"},
        {"decoder": "origin", "upstream": True},
        {"decoder": "random", "block_length": 2, "completion_length": 4, "denoising_steps": 4},
        {"decoder": "threshold", "threshold": 0.5, "top_p": 1.0},
    ],
    ids=lambda case: "-".join(map(str, case.values())),
)
def test_completions_follow_the_law_of_the_decoder(make_model: MakeModel, case: dict[str, object]) -> None:
    common = {"temperature": 1.2, "top_p": 0.95, "completion_length": 3, "denoising_steps": 3}
    sampler = Sampler.model_validate(common | case)
    model = make_model(vocab_size=5, std=0.25)
    law = ExactProcess(model, PROMPT, sampler).texts()
    requests = [Request(PROMPT, NoiseKey(7, "noise-train", (0, 0, i))) for i in range(SAMPLES)]
    done = DenoisingEngine(TorchDenoiser(model), batch_tokens=20_000).run(requests, sampler)
    observed = Counter(completion.completion_ids[: completion.end + 1] for completion in done)
    assert len(law) > 10, "too few outcomes to prove much"
    assert p_value(observed, law) > 1e-3


def test_the_test_can_fail(make_model: MakeModel) -> None:
    """Samples of another temperature are told apart."""
    model = make_model(vocab_size=5, std=0.25)
    sampler = Sampler(temperature=1.2, top_p=0.95, completion_length=3, denoising_steps=3)
    law = ExactProcess(model, PROMPT, sampler.model_copy(update={"temperature": 1.1, "top_p": 1.0})).texts()
    requests = [Request(PROMPT, NoiseKey(7, "noise-train", (0, 0, i))) for i in range(SAMPLES)]
    done = DenoisingEngine(TorchDenoiser(model), batch_tokens=20_000).run(requests, sampler)
    assert p_value(Counter(completion.completion_ids[: completion.end + 1] for completion in done), law) < 1e-6
