"""The denoising engine that a configuration asks for."""

from __future__ import annotations

from common.config import Config
from common.models import runtime
from common.models.loading import load_model
from rollout_workers.denoise import DenoiseLoop
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.kernels import Kernels


def build_engine(config: Config) -> tuple[TorchDenoiser, DenoiseLoop]:
    """Load the model onto this process's device and set the loop up around it. Raises ModelError."""
    device = runtime.configure(config.model)
    model = load_model(config.model.path, device)
    denoiser = TorchDenoiser(model, runtime.compute_dtype(config.model))
    kernels = Kernels.choose(model.config.vocab_size, device, config.rollout.compile)
    return denoiser, DenoiseLoop(denoiser, config.rollout.batch_tokens, kernels)
