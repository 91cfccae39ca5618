"""Checks before the run of a stage writes or starts anything, so that a mistake costs seconds."""

from __future__ import annotations

from pathlib import Path

from common.config import ConfigError, StageConfig
from learner.checkpoints import load_progress
from learner.stages.corpus import check_sources
from learner.stages.progress import StageProgress
from learner.stages.starting_plan import starting_config
from orchestrator.fleet.cluster import check_interpreter
from orchestrator.loggers import check_loggers
from orchestrator.preflight import check_adapters
from orchestrator.resume import checkpoint_to_resume


def check_stage(config: StageConfig, resume: str, notes: list[str]) -> Path | None:
    """Check that the run can start; return the checkpoint that it goes on from, None for a new run.

    ``resume`` and ``notes``: as for :func:`checkpoint_to_resume`. Raises ConfigError, CheckpointError, CorpusError
    or ModelError.
    """
    check_interpreter(config)
    checkpoint = checkpoint_to_resume(config, resume, notes)
    if checkpoint is not None:
        load_progress(checkpoint, StageProgress)
    check_adapters(config)
    check_loggers(config.telemetry)
    check_sources(config)
    _check_context(config)
    return checkpoint


def _check_context(config: StageConfig) -> None:
    known = starting_config(config.model, config.stage, config.data.padding).max_position_embeddings
    if config.data.context_length > known:
        raise ConfigError(
            f"data.context_length: {config.data.context_length}, and the model knows {known} positions; lower it"
        )
