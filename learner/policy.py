"""The policy as the learner sees it: log-probabilities of the tokens that are scored, and losses made of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from common.models.scoring import ScoredLoss, Targets, TokenScores
from common.models.transformer import MaskedDiffusionModel
from learner.batch import PackedViews, ScoredTokens

#: A loss of scored tokens, given the log-probabilities [m] of their rows.
Loss = Callable[[ScoredTokens, Tensor], Tensor]


class Policy(nn.Module):
    """Wraps the model so that one forward pass scores a micro-batch; DeepSpeed's engine runs this module.

    ``logits_bytes`` limits the logits that exist at a time.
    """

    def __init__(
        self, model: MaskedDiffusionModel, dtype: torch.dtype = torch.float32, logits_bytes: int = 64 << 20
    ) -> None:
        super().__init__()
        self.model = model
        self.dtype = dtype
        self._chunk_rows = max(1, logits_bytes // (4 * model.config.vocab_size))

    def forward(self, packed: PackedViews, loss: Loss | None = None) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """The log-probability [m] of every scored row, in fp32.

        With a ``loss`` that is a sum over tokens: its value, those scores, and the entropies [m] of their
        distributions; only the value can be differentiated. The loss is called for some tokens at a time.
        """
        spans = packed.chunks(self._chunk_rows)
        targets = Targets(packed.targets, self.model.forbidden, [rows for rows, _ in spans])
        with torch.autocast(packed.ids.device.type, self.dtype, enabled=self.dtype != torch.float32):
            hidden = self.model.hidden(packed.ids, packed.packing, self.model.source_rows(packed.rows))
            if loss is None:
                scores: Tensor = self.model.score(hidden, partial(TokenScores.apply, targets))
                return scores
            parts = {rows.start: packed.tokens.part(rows, tokens) for rows, tokens in spans}
            found: tuple[Tensor, Tensor, Tensor] = self.model.score(
                hidden, partial(ScoredLoss.apply, targets, lambda rows, scores: loss(parts[rows.start], scores))
            )
            return found
