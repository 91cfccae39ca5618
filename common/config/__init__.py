"""The typed configuration of a run.

One frozen tree; every field has a description, unknown keys fail, and nothing here imports torch. A recipe is a
YAML file of this tree; ``section.field=value`` arguments override it.
"""

from __future__ import annotations

from common.config.base import ConfigError, Section
from common.config.environment import from_environment
from common.config.learner import PARTIAL_ESTIMATORS, EstimatorName, LearnerConfig, LoraConfig, OptimizerConfig
from common.config.loading import dump_config, load_config, without_password
from common.config.reward import RewardConfig, RewardFunctionConfig
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
from common.config.tree import Config

__all__ = [
    "PARTIAL_ESTIMATORS",
    "AdmissionConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "DeadlinesConfig",
    "EstimatorName",
    "EvaluationConfig",
    "LearnerConfig",
    "LoraConfig",
    "ModelSection",
    "OptimizerConfig",
    "RayConfig",
    "RewardConfig",
    "RewardFunctionConfig",
    "RolloutConfig",
    "RunConfig",
    "Section",
    "StreamsConfig",
    "TelemetryConfig",
    "dump_config",
    "from_environment",
    "load_config",
    "without_password",
]
