"""What a rollout worker works with: its backend, what replaces the weights there, and what completes groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common.config import Config, LearnerConfig
from common.heartbeat import Heartbeat
from common.likelihood.registry import make_estimator
from common.models.prompts import PromptEncoder
from common.weights.fence import VersionFence
from common.weights.loader import WeightsLoader
from rollout_workers.backends.interface import Backend
from rollout_workers.backends.registry import build_backend
from rollout_workers.compilation import expected_completions
from rollout_workers.rollout_engine import Estimate, RolloutEngine


@dataclass(frozen=True)
class WorkerParts:
    """``completions``: how many the worker is expected to make, None where that is not known."""

    backend: Backend
    loader: WeightsLoader
    engine: RolloutEngine
    completions: int | None


def load_parts(
    config: Config, name: str, fence: VersionFence, heart: Heartbeat, on_step: Callable[[int], None]
) -> WorkerParts:
    """Load the model of a run for the worker of this name; ``on_step`` is told the version of each denoising step.

    Raises what :func:`build_backend` raises, and ModelError for a tokenizer that cannot be used.
    """
    backend = build_backend(config)
    loading, batch = config.deadlines.weights_seconds, config.deadlines.step_seconds
    loader = WeightsLoader(backend, fence, loading, batch, heart)
    if config.takes_turns:
        backend.release()
    engine = RolloutEngine(
        name,
        backend.engine,
        PromptEncoder(config.model.path, config.data),
        fence,
        batch,
        config.takes_weights_between,
        _estimate(backend, config.learner),
        heart,
        on_step,
    )
    return WorkerParts(backend, loader, engine, expected_completions(config))


def _estimate(backend: Backend, config: LearnerConfig) -> Estimate | None:
    """Return what estimates the likelihoods that the learner will want, None where it wants none."""
    if config.off_policy_cap is None:
        return None
    estimator = make_estimator(config.estimator, config.inner_iterations)
    return lambda key, text: backend.estimate(text, estimator.views(key, text))
