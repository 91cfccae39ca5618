"""The policy as the learner sees it: estimated token log-likelihoods of completions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.models.transformer import MaskedDiffusionModel
from learner.batch import PackedViews


class Policy(nn.Module):
    """Wraps the model so that one forward pass gives the estimates; DeepSpeed's engine runs this module."""

    def __init__(self, model: MaskedDiffusionModel, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.model = model
        self._dtype = dtype

    def forward(self, packed: PackedViews) -> Tensor:
        """Estimated token log-likelihoods [n, L] in fp32; 0 where a token is not valid."""
        with torch.autocast(packed.ids.device.type, self._dtype, enabled=self._dtype != torch.float32):
            hidden = self.model.hidden(packed.ids, packed.packing)
            logits = self.model.logits(hidden[self.model.source_rows(packed.rows)])
        chosen = logits.log_softmax(-1).gather(-1, packed.tokens.unsqueeze(-1)).squeeze(-1)
        table = torch.zeros(packed.weights.numel(), device=chosen.device).index_copy(0, packed.cells, chosen)
        return (table.view_as(packed.weights) * packed.weights).sum(1)
