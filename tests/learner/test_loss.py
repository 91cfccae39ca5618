"""The loss of a batch, against the paper's formula written out in ``naive_grpo.py``."""

from __future__ import annotations

from typing import Literal

import naive_grpo
import pytest
import torch
from learner_tools import CONFIG, LENGTH, MASK_ID, make_samples, tiny_policy
from torch import Tensor

from common.config import LearnerConfig
from learner.batch import PackedViews, TrainingSample, pack_views
from learner.estimator import CoupledEstimator, SampleKey
from learner.objective import LossSums, grpo_loss
from learner.policy import Policy

SEED = 3
CPU = torch.device("cpu")


def packed(samples: list[TrainingSample], config: LearnerConfig, iteration: int = 0) -> PackedViews:
    estimator = CoupledEstimator(config.mask_pairs, config.mask_ratio, config.weighting)
    views = [estimator.views(SampleKey(SEED, s.group, s.sample, iteration), LENGTH) for s in samples]
    return pack_views(samples, views, MASK_ID, CPU)


def loss_sums(
    samples: list[TrainingSample], new: Policy, old: Policy, reference: Policy, config: LearnerConfig
) -> LossSums:
    batch = packed(samples, config)
    with torch.no_grad():
        before, anchor = old(batch), reference(batch)
    valid = torch.arange(LENGTH) < torch.tensor([s.valid_tokens for s in samples]).unsqueeze(1)
    advantages = torch.tensor([s.advantage for s in samples])
    return grpo_loss(new(batch), before, anchor, advantages, valid, config.clip, config.kl_weight)


def nearby(policy: Policy, seed: int, distance: float) -> Policy:
    """A copy with every weight moved a little, as an old or reference policy is."""
    other = tiny_policy()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for mine, theirs in zip(other.parameters(), policy.parameters(), strict=True):
            mine.copy_(theirs + distance * torch.randn(theirs.shape, generator=generator))
    return other


def gradients(policy: Policy) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("pairs", "weighting"), [(1, "paper"), (2, "paper"), (2, "normalized")])
def test_loss_and_gradient_equal_the_naive_formula(pairs: int, weighting: Literal["paper", "normalized"]) -> None:
    config = LearnerConfig(mask_pairs=pairs, weighting=weighting, clip=0.2, kl_weight=0.3)
    samples = make_samples(7)
    assert len({len(s.prompt_ids) for s in samples}) > 1
    assert {1, LENGTH} <= {s.valid_tokens for s in samples}
    new = tiny_policy()
    old, reference = nearby(new, 1, 0.03), nearby(new, 2, 0.03)

    sums = loss_sums(samples, new, old, reference, config)
    assert 0 < int(sums.clipped) < sum(s.valid_tokens for s in samples)
    loss = sums.loss / sum(s.valid_tokens for s in samples)
    torch.autograd.backward(loss)
    found = gradients(new)

    new.zero_grad()
    naive = naive_grpo.grpo(new.model, old.model, reference.model, samples, config, SEED, iteration=0)
    torch.autograd.backward(naive)
    assert float(loss.detach()) == pytest.approx(float(naive.detach()), abs=1e-6)
    expected = gradients(new)
    assert max(float(g.abs().max()) for g in expected.values()) > 1e-2
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=0, msg=name)


def test_estimates_equal_the_naive_ones_without_the_shift() -> None:
    policy = tiny_policy(config=CONFIG.model_copy(update={"shift": False}))
    shifted = tiny_policy()
    config = LearnerConfig()
    samples = make_samples(2)
    with torch.no_grad():
        assert not torch.allclose(policy(packed(samples, config)), shifted(packed(samples, config)))
        for row, sample in zip(shifted(packed(samples, config)), samples, strict=True):
            expected = naive_grpo.token_estimates(shifted.model, sample, config, SEED, iteration=0)
            valid = sample.valid_tokens
            torch.testing.assert_close(row[:valid], torch.stack(expected[:valid]), atol=1e-5, rtol=0)


def test_estimates_do_not_depend_on_the_batch() -> None:
    policy, config, samples = tiny_policy(), LearnerConfig(mask_pairs=2), make_samples(9)
    with torch.no_grad():
        together = policy(packed(samples, config))
        for i, sample in enumerate(samples):
            torch.testing.assert_close(policy(packed([sample], config))[0], together[i], atol=1e-5, rtol=0)


def test_tokens_after_the_end_are_not_scored() -> None:
    policy, config, samples = tiny_policy(), LearnerConfig(), make_samples(8)
    batch = packed(samples, config)
    with torch.no_grad():
        estimates = policy(batch)
    for row, sample in zip(estimates, samples, strict=True):
        assert (row[: sample.valid_tokens] < 0).all()
        assert (row[sample.valid_tokens :] == 0).all()
    assert batch.rows.numel() == 2 * sum(s.valid_tokens for s in samples)


def test_only_the_completion_is_ever_masked() -> None:
    samples = make_samples(5)
    batch = packed(samples, LearnerConfig())
    starts = iter(batch.packing.starts)
    for sample in samples:
        copies = [
            batch.ids[start:][: len(sample.prompt_ids) + LENGTH] for start in (next(starts) for _ in range(3))
        ]
        for copy in copies:
            assert tuple(copy[: len(sample.prompt_ids)].tolist()) == sample.prompt_ids
        hidden = torch.stack([copy[len(sample.prompt_ids) :] == MASK_ID for copy in copies])
        assert hidden[0].all()
        assert (hidden[1] ^ hidden[2]).all()


def test_first_update_has_ratio_one_and_the_gradient_of_reinforce() -> None:
    config = LearnerConfig(kl_weight=0.0)
    samples = make_samples(6)
    policy = tiny_policy()
    sums = loss_sums(samples, policy, policy, policy, config)
    assert float(sums.ratio) == sum(s.valid_tokens for s in samples)
    assert float(sums.clipped) == 0
    torch.autograd.backward(sums.loss)
    found = gradients(policy)

    policy.zero_grad()
    estimates = policy(packed(samples, config))
    reinforce = torch.zeros(())
    for row, sample in zip(estimates, samples, strict=True):
        reinforce = reinforce - sample.advantage * row[: sample.valid_tokens].sum()
    torch.autograd.backward(reinforce)
    for name, gradient in gradients(policy).items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-5, msg=name)
