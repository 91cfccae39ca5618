"""The typed configuration of a run.

One frozen tree; every field has a description, unknown keys fail, and nothing here imports torch. A recipe is a
YAML file of this tree; ``section.field=value`` arguments override it.
"""

from __future__ import annotations

from common.config.algorithms import (
    BgpoConfig,
    CoupledConfig,
    DecoupledConfig,
    ElboBlocksConfig,
    ElboConfig,
    ElboQuadratureConfig,
    ElboSystematicConfig,
    EstimatorConfig,
    FullMaskConfig,
    GdsdConfig,
    GrpoConfig,
    LeftToRightConfig,
    ObjectiveConfig,
    PluginConfig,
    RandomMaskConfig,
    SequenceConfig,
    SpgConfig,
    StableDrlConfig,
    TraceConfig,
    VrpoConfig,
    Wd1Config,
)
from common.config.base import ConfigError, Section
from common.config.environment import from_environment
from common.config.learner import LearnerConfig, LoraConfig, OptimizerConfig
from common.config.loading import dump_config, load_config, without_password
from common.config.reward import RewardConfig, RewardFunctionConfig
from common.config.rollout import RolloutConfig
from common.config.run import (
    AdmissionConfig,
    DataConfig,
    DeadlinesConfig,
    EvaluationConfig,
    ModelSection,
    PromptSettings,
    RayConfig,
    RunConfig,
    StreamsConfig,
    TelemetryConfig,
)
from common.config.tree import Config

__all__ = [
    "AdmissionConfig",
    "BgpoConfig",
    "Config",
    "ConfigError",
    "CoupledConfig",
    "DataConfig",
    "DeadlinesConfig",
    "DecoupledConfig",
    "ElboBlocksConfig",
    "ElboConfig",
    "ElboQuadratureConfig",
    "ElboSystematicConfig",
    "EstimatorConfig",
    "EvaluationConfig",
    "FullMaskConfig",
    "GdsdConfig",
    "GrpoConfig",
    "LearnerConfig",
    "LeftToRightConfig",
    "LoraConfig",
    "ModelSection",
    "ObjectiveConfig",
    "OptimizerConfig",
    "PluginConfig",
    "PromptSettings",
    "RandomMaskConfig",
    "RayConfig",
    "RewardConfig",
    "RewardFunctionConfig",
    "RolloutConfig",
    "RunConfig",
    "Section",
    "SequenceConfig",
    "SpgConfig",
    "StableDrlConfig",
    "StreamsConfig",
    "TelemetryConfig",
    "TraceConfig",
    "VrpoConfig",
    "Wd1Config",
    "dump_config",
    "from_environment",
    "load_config",
    "without_password",
]
