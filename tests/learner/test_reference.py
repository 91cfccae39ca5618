"""The reference policy: held in parts and in the type in which it is read, mixed in fp32."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch

from common.config import LearnerConfig
from common.models.shapes import parameter_shapes
from learner.deepspeed_settings import PERSISTENT_ELEMENTS
from learner.policy import Policy
from learner.reference import Reference
from tests.learner.learner_tools import CONFIG, make_samples, tiny_policy
from tests.learner.rank_processes import run_ranks

RANKS, SHARE, SYNCS = 2, 0.01, 60
#: Some weights are cut into parts, others are small enough to be whole.
MODEL = CONFIG.model_copy(update={"hidden_size": 64, "intermediate_size": 2048})
#: Held types: of the weights, and of the passes.
TYPES = {
    "fp32": (torch.float32, torch.float32),
    "rounded": (torch.float32, torch.bfloat16),
    "bf16": (torch.bfloat16, torch.bfloat16),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("reference")
    run_ranks(RANKS, follow, (folder,), deadline=120.0)
    return dict(torch.load(folder / "found.pt"))


def follow(rank: int, folder: Path) -> None:
    found = {}
    for name, (held, computed) in TYPES.items():
        for offload in ("none", "all"):
            config = LearnerConfig(zero_stage=3, zero_offload=offload, reference_sync_share=SHARE)
            policy = tiny_policy(config=MODEL, dtype=computed)
            policy.model.to(held)
            reference = Reference(policy, config)
            where = folder / f"{name}-{offload}"
            where.mkdir(exist_ok=True)
            start = log_probs(reference.policy)
            for _ in range(SYNCS):
                reference.move_towards(target(), SHARE)
            moved = log_probs(reference.policy)
            reference.save(where)
            torch.distributed.barrier()
            again = Reference(tiny_policy(7, config=MODEL, dtype=computed).to(held), config)
            again.load(where)
            reference.move_towards(target(), 1.0)
            again_moved = log_probs(again.policy)
            found[f"{name}-{offload}"] = {
                "start": start,
                "moved": moved,
                "resumed": again_moved,
                "arrived": log_probs(reference.policy),
                "whole_between_passes": sum(p.numel() for p in reference.policy.parameters()),
            }
    if rank == 0:
        torch.save(found, folder / "found.pt")


def target() -> list[tuple[str, torch.Tensor]]:
    """Weights a hundredth of their size away from where the reference starts."""
    generator = torch.Generator().manual_seed(5)
    return [
        (name, p.detach() * (1 + 0.01 * torch.randn(p.shape, generator=generator)))
        for name, p in tiny_policy(config=MODEL).named_parameters()
    ]


def naive(held: torch.dtype, computed: torch.dtype, syncs: int, share: float) -> Policy:
    """A copy of the policy, mixed in fp32 and rounded once to the type in which it is read."""
    policy = tiny_policy(config=MODEL, dtype=computed)
    policy.model.to(held)
    mixed = {name: p.detach().float().clone() for name, p in policy.named_parameters()}
    for _ in range(syncs):
        for name, theirs in target():
            mixed[name] = torch.lerp(mixed[name], theirs, share)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            parameter.copy_(mixed[name])
    return policy


def log_probs(policy: Policy) -> torch.Tensor:
    from common.likelihood.coupled import CoupledEstimator
    from learner.batch import pack_views
    from learner.partition import Piece

    samples = make_samples(4)
    views = [CoupledEstimator(1, (0.2, 0.8), "paper").views(sample.key(0, 0), sample) for sample in samples]
    packed = pack_views([Piece(s, (0, 1, 2)) for s in samples], views, 0, torch.device("cpu"))
    with torch.no_grad():
        found: torch.Tensor = policy(Policy.log_probs, packed)
    return found


@pytest.mark.parametrize("offload", ["none", "all"])
@pytest.mark.parametrize("types", TYPES)
def test_small_steps_are_not_lost_in_any_type(found: dict[str, Any], types: str, offload: str) -> None:
    held, computed = TYPES[types]
    mine = found[f"{types}-{offload}"]
    assert torch.equal(mine["start"], log_probs(naive(held, computed, 0, SHARE)))
    torch.testing.assert_close(mine["moved"], log_probs(naive(held, computed, SYNCS, SHARE)), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(mine["arrived"], log_probs(naive(held, computed, 1, 1.0)), atol=1e-5, rtol=0)
    assert float((mine["moved"] - mine["start"]).abs().max()) > 1e-2
    assert torch.equal(mine["resumed"], mine["moved"])
    sizes = [prod(shape) for shape in parameter_shapes(MODEL).values()]
    whole = sum(elements for elements in sizes if elements <= PERSISTENT_ELEMENTS)
    assert 0 < whole < sum(sizes)
    assert mine["whole_between_passes"] == (0 if offload == "all" else whole)
