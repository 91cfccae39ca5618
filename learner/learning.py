"""What a rank of reinforcement learning works with: the engine that trains, and what hands its weights on."""

from __future__ import annotations

from dataclasses import dataclass

from common.config import Config
from common.likelihood.registry import make_estimator
from common.models import runtime
from common.models.loading import load_model
from common.weights.buckets import plan_layout
from common.weights.publisher import Publisher
from learner.engine import Engine
from learner.member import Member
from learner.objectives.registry import make_objective
from learner.sleeper import Sleeper


@dataclass(frozen=True)
class Learning:
    engine: Engine
    publisher: Publisher
    sleeper: Sleeper


def load_learning(config: Config, member: Member) -> Learning:
    """Load the model that a run starts from, on a rank that has joined the others; a collective call.

    Raises ModelError, PluginError, and DivergedError where its weights are not finite.
    """
    settings = config.learner
    model = load_model(config.model.path, runtime.configure(config.model))
    # Now: later the model may hold adapters, or parts of its parameters.
    types = model.held_types(runtime.compute_dtype(config.model))
    layout = plan_layout(model.named_parameters(), types, settings.bucket_mb << 20)
    publisher = Publisher(layout, config.deadlines.weights_seconds)
    total_updates = config.run.total_steps * settings.updates_per_step
    estimator = make_estimator(settings.estimator, settings.inner_iterations)
    objective = make_objective(settings.objective)
    policy = member.policy(model)
    engine = Engine(policy, estimator, objective, settings, config.run.seed, total_updates)
    return Learning(engine, publisher, Sleeper(engine))
