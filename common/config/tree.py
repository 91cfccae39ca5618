"""A whole run, and what its sections demand of each other."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol, Self

from pydantic import model_validator

from common.config.base import Section
from common.config.engine import EngineConfig
from common.config.learner import LearnerConfig
from common.config.reward import TOKENS_PER_FORWARD, RewardConfig
from common.config.rollout import RolloutConfig
from common.config.run import (
    AdmissionConfig,
    DataConfig,
    DeadlinesConfig,
    EvaluationConfig,
    ModelSection,
    RayConfig,
    RunConfig,
    StreamsConfig,
    TelemetryConfig,
)
from common.config.turns import check_turns
from common.sampler import ADAPTIVE_DECODERS


class RunSettings(Protocol):
    """What runs of every kind have: of reinforcement learning, and of the stages before it."""

    @property
    def run(self) -> RunConfig: ...

    @property
    def model(self) -> ModelSection: ...

    @property
    def ray(self) -> RayConfig: ...

    @property
    def telemetry(self) -> TelemetryConfig: ...

    @property
    def deadlines(self) -> DeadlinesConfig: ...

    @property
    def learner(self) -> EngineConfig: ...

    @property
    def folder(self) -> Path: ...


class Config(Section):
    """A whole run of reinforcement learning."""

    run: RunConfig = RunConfig()
    model: ModelSection
    data: DataConfig
    rollout: RolloutConfig = RolloutConfig()
    reward: RewardConfig = RewardConfig()
    learner: LearnerConfig = LearnerConfig()
    admission: AdmissionConfig = AdmissionConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    streams: StreamsConfig = StreamsConfig()
    ray: RayConfig = RayConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    deadlines: DeadlinesConfig = DeadlinesConfig()

    @model_validator(mode="after")
    def _steps_can_fill(self) -> Self:
        if self.admission.max_in_flight < self.learner.groups_per_step:
            raise ValueError(
                "admission.max_in_flight: smaller than learner.groups_per_step, so no step could ever fill"
            )
        if self.learner.estimator.kind == "left_to_right" and self.rollout.block_length != 1:
            raise ValueError(
                "learner.estimator: left_to_right scores what was decoded from left to right; set "
                "rollout.block_length: 1 and rollout.denoising_steps to rollout.completion_length"
            )
        if self.learner.approximation_cap and not self.rollout.approximate_measured_share:
            raise ValueError(
                "learner.approximation_cap: weighs completions by what their rollouts measure, and these measure "
                "nothing; set rollout.approximate_measured_share, or leave the cap out"
            )
        paid = [function.path for function in self.reward.functions]
        if TOKENS_PER_FORWARD in paid and self.rollout.decoder not in ADAPTIVE_DECODERS:
            raise ValueError(
                f"reward.functions: {TOKENS_PER_FORWARD} pays for committing more tokens at a step, but the "
                f"{self.rollout.decoder} decoder commits what its schedule says; set rollout.decoder: "
                f"{ADAPTIVE_DECODERS[0]}, or leave the function out"
            )
        self.learner.check_dtype(self.model.dtype)
        check_turns(self.rollout, self.learner, self.admission.max_staleness)
        if not self.reward.workers and (self.run.id is None or self.streams.url == "embedded"):
            missing = "run.id" if self.run.id is None else "streams.url"
            raise ValueError(
                f"{missing}: reward.workers: 0 leaves scoring to `couplet serve-rewards`, which must know the "
                "run's id and its Redis; set run.id, and streams.url to a Redis that both reach"
            )
        unacknowledged = self.learner.checkpoint_steps * self.learner.groups_per_step
        if self.streams.capacity < unacknowledged + self.admission.max_in_flight:
            raise ValueError(
                "streams.capacity: must hold the groups between two checkpoints and those in flight, "
                f"{unacknowledged + self.admission.max_in_flight} here, or the run would block itself"
            )
        longest = self.data.max_prompt_tokens + self.rollout.completion_length
        if self.rollout.batch_tokens < longest:
            raise ValueError(
                "rollout.batch_tokens: smaller than one row, data.max_prompt_tokens + rollout.completion_length = "
                f"{longest}"
            )
        return self

    @property
    def folder(self) -> Path:
        return self.run.folder or Path("runs") / self.run.name

    @property
    def takes_turns(self) -> bool:
        """Whether the learner and the rollout workers use the same devices in turns."""
        return self.rollout.placement == "shared"

    @property
    def takes_weights_between(self) -> Literal["batches", "steps"]:
        """When rollout workers take new weights: ``rollout.update_between``, with what ``auto`` means here."""
        if self.rollout.update_between == "auto":
            return "steps" if self.admission.max_staleness else "batches"
        return self.rollout.update_between
