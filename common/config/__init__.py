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
from common.config.backends import BackendConfig, TorchBackendConfig, VllmBackendConfig
from common.config.base import ConfigError, Section
from common.config.engine import EngineConfig, LoraConfig, OptimizerConfig
from common.config.environment import from_environment
from common.config.learner import LearnerConfig
from common.config.loading import dump_config, load_config, load_stage_config, without_password
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
    WandbConfig,
)
from common.config.stages import (
    CorpusConfig,
    CorpusSource,
    DenoisingConfig,
    Stage,
    StageConfig,
    StageEvaluationConfig,
    StageLearnerConfig,
    StageModelConfig,
)
from common.config.task_source import TaskSource, source_name
from common.config.tree import Config, RunSettings

__all__ = [
    "AdmissionConfig",
    "BackendConfig",
    "BgpoConfig",
    "Config",
    "ConfigError",
    "CorpusConfig",
    "CorpusSource",
    "CoupledConfig",
    "DataConfig",
    "DeadlinesConfig",
    "DecoupledConfig",
    "DenoisingConfig",
    "ElboBlocksConfig",
    "ElboConfig",
    "ElboQuadratureConfig",
    "ElboSystematicConfig",
    "EngineConfig",
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
    "RunSettings",
    "Section",
    "SequenceConfig",
    "SpgConfig",
    "StableDrlConfig",
    "Stage",
    "StageConfig",
    "StageEvaluationConfig",
    "StageLearnerConfig",
    "StageModelConfig",
    "StreamsConfig",
    "TaskSource",
    "TelemetryConfig",
    "TorchBackendConfig",
    "TraceConfig",
    "VllmBackendConfig",
    "VrpoConfig",
    "WandbConfig",
    "Wd1Config",
    "dump_config",
    "from_environment",
    "load_config",
    "load_stage_config",
    "source_name",
    "without_password",
]
