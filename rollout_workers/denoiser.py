"""What a denoising loop needs of a model, and the backend on plain torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from common.models.packing import Packing
from common.models.transformer import MaskedDiffusionModel


class Denoiser(Protocol):
    """A model behind the denoising loop; knows nothing about diffusion."""

    mask_token_id: int
    eos_token_id: int
    device: torch.device

    def masked_logits(self, ids: Tensor, packing: Packing, targets: Tensor) -> Tensor:
        """fp32 logits [m, V] for the flat positions ``targets`` [m] of a packed batch ``ids`` [N]."""

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Overwrite the weights in place."""


class TorchDenoiser:
    """The learner's own model code, without gradients."""

    def __init__(self, model: MaskedDiffusionModel, dtype: torch.dtype = torch.float32) -> None:
        self._model = model.eval().requires_grad_(False)
        self._dtype = dtype
        self.mask_token_id = model.config.mask_token_id
        self.eos_token_id = model.config.eos_token_id
        self.device = next(model.parameters()).device

    @torch.inference_mode()
    def masked_logits(self, ids: Tensor, packing: Packing, targets: Tensor) -> Tensor:
        with torch.autocast(self.device.type, self._dtype, enabled=self._dtype != torch.float32):
            hidden = self._model.hidden(ids, packing)
            return self._model.logits(hidden[self._model.source_rows(targets)])

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        own = dict(self._model.named_parameters())
        if own.keys() != weights.keys():
            raise ValueError(f"weights do not fit the model: {sorted(own.keys() ^ weights.keys())[:5]}")
        for name, parameter in own.items():
            parameter.copy_(weights[name])
