"""A micro-batch asks its device for no value, and sends it none, so the host can go ahead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from common.config import LearnerConfig
from common.likelihood.registry import make_estimator
from common.presets import PRESETS
from learner.batch import PackedViews, pack_views
from learner.objectives.draws import DrawByDraw
from learner.objectives.objective import Objective
from learner.objectives.registry import make_objective
from learner.partition import micro_batches, units
from learner.policy import Policy
from tests.learner.learner_tools import MASK_ID, make_samples, tiny_policy

#: Operators whose result, or its shape, depends on values that only the device has; and host values made tensors.
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique_dim", "_unique2"}
SENDING = {"lift_fresh"}


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Lists the operators that wait for the device or send it host values."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            place is not None and place.dtype in (torch.bool, torch.uint8) for place in args[1]
        )
        if name in WAITING | SENDING or by_mask:
            self.found.append(name)
        return function(*args, **(kwargs or {}))


@contextmanager
def operators() -> Iterator[Operators]:
    with Operators() as counted:
        yield counted


def packed_views(policy: Policy, config: LearnerConfig, objective: Objective) -> PackedViews:
    estimator, samples = make_estimator(config.estimator, 1), make_samples(8)
    by_draw = isinstance(objective, DrawByDraw)
    parts = units(objective.link(samples), estimator, 0, objective.by_token, by_draw)
    (batch,) = micro_batches(parts, ranks=1, batch_tokens=10**6)[0]
    views = [estimator.views(piece.sample.key(0, 0), piece.sample) for piece in batch]
    return pack_views(batch, views, MASK_ID, next(policy.parameters()).device)


@pytest.mark.parametrize("preset", [name for name in PRESETS if name])
def test_a_micro_batch_neither_waits_for_its_device_nor_sends_it_values(preset: str) -> None:
    config = LearnerConfig.model_validate({"preset": preset})
    policy, objective = tiny_policy(chunk_rows=16), make_objective(config.objective)
    packed = packed_views(policy, config, objective)
    with operators() as counted:
        estimates = packed.tokens.estimates(policy.log_probs(packed)).detach()
        anchored = packed.with_estimates(old=estimates, reference=estimates)
        if objective.by_token:
            value = policy.loss(anchored, lambda rows, new: objective.sums(anchored.part(rows), new).loss).value
        else:
            value = objective.sums(anchored.tokens, policy.log_probs(anchored)).loss
        torch.autograd.backward(value / 8.0)
    assert counted.found == []


def test_what_waits_is_found() -> None:
    values = torch.arange(4.0)
    with operators() as counted:
        values[values > 1.0].sum().item()
        torch.tensor([1.0])
    assert counted.found == ["index", "_local_scalar_dense", "lift_fresh"]
