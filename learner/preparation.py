"""A loaded model made ready for training: adapters, recomputation, compilation, kernels."""

from __future__ import annotations

import os

import torch

from common.config import LearnerConfig
from common.models.transformer import FeedForward, MaskedDiffusionModel
from learner import lora


def prepare(model: MaskedDiffusionModel, config: LearnerConfig, seed: int) -> None:
    """Change ``model`` in place, and this process's choice of kernels where ``deterministic`` asks for it."""
    if config.lora is not None:
        lora.attach(model, config.lora, seed)
    model.checkpoint_layers = config.gradient_checkpointing
    if config.compile:
        # Attention is one kernel already, and its shapes change with every packing.
        for module in model.modules():
            if isinstance(module, FeedForward):
                module.compile(dynamic=True)
    if config.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True)
