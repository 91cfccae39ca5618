"""The loss of a batch, against the paper's formula written out in ``naive_grpo.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.naive_denoise import stock_model
from common.config import CoupledConfig, GrpoConfig, LearnerConfig
from common.likelihood.registry import make_estimator
from learner.batch import PackedViews, TokenRows, pack_views
from learner.objectives.registry import make_objective
from learner.partition import Piece
from learner.policy import Policy
from learner.samples import TrainingSample
from tests.learner import naive_grpo
from tests.learner.learner_tools import CONFIG, LENGTH, MASK_ID, by_sample, make_samples, tiny_policy

SEED = 3
CPU = torch.device("cpu")


def packed(samples: list[TrainingSample], config: LearnerConfig, iteration: int = 0) -> PackedViews:
    estimator = make_estimator(config.estimator, config.inner_iterations)
    views = [estimator.views(sample.key(SEED, iteration), sample) for sample in samples]
    pieces = [Piece(s, tuple(range(len(v.masks)))) for s, v in zip(samples, views, strict=True)]
    return pack_views(pieces, views, MASK_ID, CPU)


def estimates(policy: Policy, batch: PackedViews) -> Tensor:
    return batch.tokens.estimates(policy.log_probs(batch))


def loss_sums(
    samples: list[TrainingSample], new: Policy, old: Policy, reference: Policy, config: LearnerConfig
) -> tuple[Tensor, Mapping[str, float]]:
    """The loss as the engine takes it, chunk by chunk, and the sums of the metrics."""
    batch = packed(samples, config)
    objective = make_objective(config.objective)
    with torch.no_grad():
        batch = batch.with_estimates(old=estimates(old, batch), reference=estimates(reference, batch))
    metrics = dict.fromkeys(objective.metric_names, 0.0)

    def loss_of(tokens: TokenRows, log_probs: Tensor) -> Tensor:
        sums = objective.sums(tokens, log_probs)
        for name, value in sums.metrics.items():
            metrics[name] += float(value)
        return sums.loss

    if objective.by_token:
        return new.loss(batch, lambda rows, log_probs: loss_of(batch.part(rows), log_probs)).value, metrics
    return loss_of(batch.tokens, new.log_probs(batch)), metrics


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
@pytest.mark.parametrize("chunk_rows", [1, 5, 1000])
def test_loss_and_gradient_equal_the_naive_formula(pairs: int, weighting: Any, chunk_rows: int) -> None:
    config = LearnerConfig(
        estimator=CoupledConfig(mask_pairs=pairs, weighting=weighting),
        objective=GrpoConfig(clip=0.2, kl_weight=0.3),
    )
    samples = make_samples(7)
    assert len({len(s.prompt_ids) for s in samples}) > 1
    assert {1, LENGTH} <= {s.valid_tokens for s in samples}
    new = tiny_policy(chunk_rows=chunk_rows)
    old, reference = nearby(new, 1, 0.03), nearby(new, 2, 0.03)

    total, metrics = loss_sums(samples, new, old, reference, config)
    assert 0 < metrics["policy/clip_fraction"] < sum(s.valid_tokens for s in samples)
    loss = total / sum(s.valid_tokens for s in samples)
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


@pytest.mark.parametrize("shift", [True, False])
def test_packed_and_left_padded_scoring_have_one_gradient(shift: bool) -> None:
    """The padded side is transformers' own model: every view a row, pads on the left that no query sees."""
    policy = tiny_policy(config=CONFIG.model_copy(update={"shift": shift}))
    samples, config = make_samples(7), LearnerConfig(estimator=CoupledConfig(mask_pairs=2))
    batch = packed(samples, config)
    found = by_sample(batch, estimates(policy, batch))
    torch.autograd.backward(found.sum())
    expected_gradients = gradients(policy)

    stock = stock_model(policy.model, torch.float32).requires_grad_(True)
    estimator = make_estimator(config.estimator, config.inner_iterations)
    width = max(len(sample.prompt_ids) for sample in samples)
    expected = []
    for sample in samples:
        views = estimator.views(sample.key(SEED, 0), sample)
        pads = width - len(sample.prompt_ids)
        rows = torch.nn.functional.pad(torch.from_numpy(views.canvases(sample, MASK_ID)), (pads, 0), value=1)
        real = torch.arange(rows.shape[1]) >= pads
        bias = torch.zeros(rows.shape[1]).masked_fill(~real, torch.finfo(torch.float32).min)
        positions = (real.cumsum(0) - 1).clamp(min=0).expand(rows.shape)
        logits = stock(
            rows, attention_mask=bias.expand(len(rows), 1, rows.shape[1], -1), position_ids=positions
        ).logits
        logits[..., MASK_ID] = -torch.inf
        first = width - int(shift)
        scores = logits[:, first : first + LENGTH].log_softmax(-1)
        chosen = scores.gather(
            -1, torch.tensor(sample.completion_ids).expand(len(rows), -1).unsqueeze(-1)
        ).squeeze(-1)
        expected.append((chosen * torch.from_numpy(views.weights).float()).sum(0)[: sample.valid_tokens])
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=0)
    torch.autograd.backward(torch.cat(expected).sum())
    stock_gradients = {name: p.grad for name, p in stock.named_parameters() if p.grad is not None}
    assert len(stock_gradients) == len(expected_gradients)
    for name, gradient in stock_gradients.items():
        torch.testing.assert_close(expected_gradients[f"model.{name}"], gradient, atol=2e-5, rtol=1e-5, msg=name)


def test_estimates_equal_the_naive_ones() -> None:
    policy, config, samples = tiny_policy(), LearnerConfig(), make_samples(2)
    with torch.no_grad():
        batch = packed(samples, config)
        found = by_sample(batch, estimates(policy, batch))
        expected = [
            torch.stack(
                naive_grpo.token_estimates(policy.model, s, CoupledConfig(), SEED, iteration=0)[: s.valid_tokens]
            )
            for s in samples
        ]
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["coupled", "full_mask", "elbo", "trace", "left_to_right"])
def test_estimates_do_not_depend_on_the_batch(name: Any) -> None:
    policy, config, samples = tiny_policy(), LearnerConfig.model_validate({"estimator": name}), make_samples(9)
    with torch.no_grad():
        batch = packed(samples, config)
        together = by_sample(batch, estimates(policy, batch))
        apart = [estimates(policy, packed([sample], config)) for sample in samples]
    torch.testing.assert_close(torch.cat(apart), together, atol=1e-5, rtol=0)


def test_tokens_after_the_end_are_not_scored() -> None:
    samples = make_samples(8)
    batch = packed(samples, LearnerConfig())
    measured = [(k, i) for k in range(LENGTH) for i, s in enumerate(samples) if k < s.valid_tokens]
    assert batch.tokens.position.tolist() == [k for k, _ in measured]
    assert batch.tokens.owner.tolist() == [i for _, i in measured]
    assert batch.targets[::2].tolist() == [samples[i].completion_ids[k] for k, i in measured]
    assert batch.targets.numel() == 2 * len(measured)


def test_what_samples_of_a_group_see_alike_is_computed_once() -> None:
    samples, estimator = make_samples(8), make_estimator(CoupledConfig(), 1)
    seen, predicted = set(), set()
    for sample in samples:
        views = estimator.views(sample.key(SEED, 0), sample)
        canvases = [canvas.tobytes() for canvas in views.canvases(sample, MASK_ID)]
        seen.update(canvases)
        predicted.update((canvases[view], k) for view, k in np.argwhere(views.measured(sample)))
    batch = packed(samples, LearnerConfig())
    assert len(batch.packing.lengths) == len(seen) <= 2 + 2 * len(samples)  # two groups
    assert batch.rows.numel() == len(set(batch.rows.tolist())) == len(predicted) < batch.targets.numel()
    full_mask = LearnerConfig.model_validate({"estimator": {"kind": "full_mask", "prompt_mask": 0.0}})
    assert len(packed(samples, full_mask).packing.lengths) == 2


@pytest.mark.parametrize("objective", ["grpo", "sequence"])
def test_sharing_changes_no_gradient(objective: Any) -> None:
    config = LearnerConfig.model_validate({"objective": {"kind": objective}})
    samples = make_samples(8)
    found = []
    for parts in ([samples], [[sample] for sample in samples]):
        policy = tiny_policy(chunk_rows=5)
        old, reference = nearby(policy, 1, 0.02), nearby(policy, 2, 0.02)
        for part in parts:
            torch.autograd.backward(loss_sums(part, policy, old, reference, config)[0])
        found.append(gradients(policy))
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], atol=1e-5, rtol=1e-5, msg=name)


def test_only_the_completion_is_ever_masked() -> None:
    for sample in make_samples(5):
        batch = packed([sample], LearnerConfig())
        copies = [batch.ids[start:][: len(sample.prompt_ids) + LENGTH] for start in batch.packing.starts]
        for copy in copies:
            assert tuple(copy[: len(sample.prompt_ids)].tolist()) == sample.prompt_ids
        hidden = torch.stack([copy[len(sample.prompt_ids) :] == MASK_ID for copy in copies])
        assert hidden[0].all()
        assert (hidden[1] ^ hidden[2]).all()


def test_chunks_never_cut_a_token_apart() -> None:
    batch = packed(make_samples(6), LearnerConfig(estimator=CoupledConfig(mask_pairs=2)))
    for rows in (1, 3, 4, 7, 10_000):
        spans = batch.chunks(rows)
        for cuts, count in (
            ([span.rows for span in spans], batch.rows.numel()),
            ([span.tokens for span in spans], batch.targets.numel()),
        ):
            assert [i for cut in cuts for i in range(cut.start, cut.stop)] == list(range(count))
        parts = [batch.part(span.tokens) for span in spans]
        for span, part in zip(spans, parts, strict=True):
            assert set(part.token.tolist()) == set(range(len(part.owner)))
            # At most the row that a group shares, and two for each of its four samples.
            assert span.rows.stop - span.rows.start <= max(rows, 1 + 4 * 2)
            assert batch.row_of is not None
            rows_of = batch.row_of[span.tokens]
            assert (int(rows_of.min()), int(rows_of.max())) == (span.rows.start, span.rows.stop - 1)
        assert torch.cat([part.position for part in parts]).equal(batch.tokens.position)


@pytest.mark.parametrize("objective", ["grpo", "sequence"])
def test_first_update_has_ratio_one_and_the_gradient_of_reinforce(objective: Any) -> None:
    config = LearnerConfig.model_validate({"objective": {"kind": objective, "kl_weight": 0.0}})
    samples = make_samples(6)
    policy = tiny_policy()
    total, metrics = loss_sums(samples, policy, policy, policy, config)
    units = len(samples) if objective == "sequence" else sum(s.valid_tokens for s in samples)
    assert metrics["policy/ratio_mean"] == units
    assert metrics["policy/clip_fraction"] == 0
    torch.autograd.backward(total)
    found = gradients(policy)

    policy.zero_grad()
    batch = packed(samples, config)
    means = torch.split(by_sample(batch, estimates(policy, batch)), [s.valid_tokens for s in samples])
    reinforce = torch.zeros(())
    for row, sample in zip(means, samples, strict=True):
        reinforce = reinforce - sample.advantage * (row.mean() if objective == "sequence" else row.sum())
    torch.autograd.backward(reinforce)
    for name, gradient in gradients(policy).items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-5, msg=name)
