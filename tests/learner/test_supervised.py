from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from common import rng
from common.models.packing import Packing
from learner.warm_start.supervised import denoising_loss
from tests.learner.learner_tools import LENGTH, MASK_ID, make_samples, tiny_policy

CPU = torch.device("cpu")
SAMPLES = [replace(sample, valid_tokens=LENGTH) for sample in make_samples(6)]


def test_loss_equals_the_naive_formula() -> None:
    policy = tiny_policy()
    with torch.no_grad():
        loss = denoising_loss(policy, SAMPLES, rng.stream(4, "test"), CPU)
        random = rng.stream(4, "test")
        strata = [(i + u) / 6 for i, u in enumerate(random.random(6))]
        ratios = [1e-3 + (1 - 1e-3) * t for t in random.permutation(strata)]
        total = 0.0
        for sample, ratio in zip(SAMPLES, ratios, strict=True):
            masked = random.random(LENGTH) < ratio
            canvas = [MASK_ID if m else t for t, m in zip(sample.completion_ids, masked, strict=True)]
            ids = torch.tensor([*sample.prompt_ids, *canvas])
            logits = policy.model.logits(policy.model.hidden(ids, Packing.of([len(ids)])))
            for k in range(LENGTH):
                if masked[k]:
                    row = logits[len(sample.prompt_ids) + k - 1].log_softmax(-1)
                    total -= float(row[sample.completion_ids[k]]) / ratio
    assert float(loss) == pytest.approx(total / (6 * LENGTH), abs=1e-5)


def test_a_few_steps_bring_the_loss_down() -> None:
    policy = tiny_policy()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2)
    draws = rng.stream(0, "test")

    def mean_loss() -> float:
        with torch.no_grad():
            return sum(float(denoising_loss(policy, SAMPLES, rng.stream(i, "probe"), CPU)) for i in range(8)) / 8

    before = mean_loss()
    for _ in range(30):
        optimizer.zero_grad()
        torch.autograd.backward(denoising_loss(policy, SAMPLES, draws, CPU))
        optimizer.step()
    assert mean_loss() < 0.7 * before


def test_a_batch_without_a_masked_token_has_a_loss_to_differentiate() -> None:
    class NeverMasked:
        def random(self, shape: object) -> torch.Tensor:
            return torch.ones(shape).numpy() * 0.9999  # type: ignore[call-overload]

        def permutation(self, values: object) -> object:
            return 0.0 * values  # type: ignore[operator]

    loss = denoising_loss(tiny_policy(), SAMPLES, NeverMasked(), CPU)  # type: ignore[arg-type]
    torch.autograd.backward(loss)
    assert float(loss.detach()) == 0.0
