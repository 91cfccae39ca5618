"""Weights of a run as a model folder: the last step of a run, and what `couplet export` makes of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from common.config import EngineConfig
from common.models.config import ModelConfig
from common.models.loading import save_model


def export_model(
    config: EngineConfig,
    model: ModelConfig,
    parameters: Iterable[tuple[str, Tensor]],
    source: Path,
    folder: Path,
) -> None:
    """Write a model folder in the format of ``source``, the folder that the run started from. Atomic.

    Adapters, which are added in fp32, are rounded here as they are for the workers.
    """
    dtype = torch.bfloat16 if config.weights_dtype == "bfloat16" else torch.float32
    save_model(model, parameters, folder, source, dtype)
