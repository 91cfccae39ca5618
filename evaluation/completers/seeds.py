"""Seeds for engines that draw with a generator of their own."""

from __future__ import annotations

from common import rng
from rollout_workers.requests import Request


def sample_seed(request: Request) -> int:
    """Return the seed of a completion, a function of the request's key."""
    key = request.key
    return int(rng.stream(key.seed, f"{key.purpose}-engine", *key.indices).integers(2**31))
