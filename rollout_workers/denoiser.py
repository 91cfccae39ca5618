"""What a denoising loop needs of a model, and the backend on plain torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from common.models.config import ModelConfig
from common.models.packing import Packing
from common.models.precision import Linear
from common.models.transformer import MaskedDiffusionModel
from common.models.window import Memory, Window


class Denoiser(Protocol):
    """A model behind the denoising loop; knows nothing about diffusion."""

    config: ModelConfig
    device: torch.device

    def hidden(self, ids: Tensor, packing: Packing) -> Tensor:
        """Hidden states [N, H] of a packed batch of token ids [N]."""

    def refresh(self, ids: Tensor, packing: Packing, window: Window, memory: Memory) -> Tensor:
        """Hidden states [A, H] of a window's rows, which see the rest of their sequences as remembered."""

    def logits(self, rows: Tensor) -> Tensor:
        """fp32 logits [n, V] of hidden rows [n, H]; -inf at tokens that are never predicted."""

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Overwrite the weights in place."""


class TorchDenoiser:
    """The learner's own model code, without gradients."""

    def __init__(self, model: MaskedDiffusionModel, dtype: torch.dtype = torch.float32) -> None:
        self._model = model.eval().requires_grad_(False)
        self._dtype = dtype
        self.config = model.config
        self.device = next(model.parameters()).device
        self._hold()

    @torch.inference_mode()
    def hidden(self, ids: Tensor, packing: Packing) -> Tensor:
        with self._precision():
            return self._model.hidden(ids, packing)

    @torch.inference_mode()
    def refresh(self, ids: Tensor, packing: Packing, window: Window, memory: Memory) -> Tensor:
        with self._precision():
            return self._model.refresh(ids, packing, window, memory)

    @torch.inference_mode()
    def logits(self, rows: Tensor) -> Tensor:
        with self._precision():
            return self._model.logits(rows)

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        own = dict(self._model.named_parameters())
        if own.keys() != weights.keys():
            raise ValueError(f"weights do not fit the model: {sorted(own.keys() ^ weights.keys())[:5]}")
        for name, parameter in own.items():
            parameter.copy_(weights[name])
        self._hold()

    def _hold(self) -> None:
        """Round once what every pass would have to round. An embedding that is the head too stays as it is."""
        for module in self._model.modules():
            if isinstance(module, Linear) and module.weight is not self._model.model.embed_tokens.weight:
                module.hold(self._dtype)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, self._dtype, enabled=self._dtype != torch.float32)
