"""The policy as the learner sees it: log-probabilities of tokens, and losses made of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from common.models.log_probabilities import ChunkedLoss, Targets, TokenLogProbs
from common.models.transformer import MaskedDiffusionModel
from learner.batch import PackedViews, TokenRows

#: The loss of some tokens, given the log-probabilities [m] of their rows.
Loss = Callable[[TokenRows, Tensor], Tensor]
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class LossOfTokens(NamedTuple):
    """A loss, of which ``value`` alone can be differentiated, and what it was made of.

    ``log_probs`` [m] are those of the rows, ``entropies`` [m] those of their distributions, in nats.
    """

    value: Tensor
    log_probs: Tensor
    entropies: Tensor


class Policy(nn.Module):
    """The model with the passes that an update takes through it.

    ``logits_bytes`` limits the logits that exist at a time.
    """

    def __init__(
        self, model: MaskedDiffusionModel, dtype: torch.dtype = torch.float32, logits_bytes: int = 64 << 20
    ) -> None:
        super().__init__()
        self.model = model
        self.dtype = dtype
        self._chunk_rows = max(1, logits_bytes // (4 * model.config.vocab_size))

    def forward(
        self,
        method: Callable[Concatenate[Policy, _Parameters], _Result],
        *args: _Parameters.args,
        **kwargs: _Parameters.kwargs,
    ) -> _Result:
        """Call one of the methods below: DeepSpeed partitions and counts only what runs inside ``forward``."""
        return method(self, *args, **kwargs)

    def log_probs(self, packed: PackedViews) -> Tensor:
        """Compute the log-probability [m] of the target of every row, in fp32."""
        spans = packed.chunks(self._chunk_rows)
        targets = Targets(packed.targets, self.model.forbidden, [rows for rows, _ in spans])
        with self._autocast(packed):
            found: Tensor = self.model.apply_head(self._hidden(packed), partial(TokenLogProbs.apply, targets))
        return found

    def loss(self, packed: PackedViews, loss: Loss) -> LossOfTokens:
        """Compute a loss that is a sum over tokens; ``loss`` is called for some of them at a time."""
        spans = packed.chunks(self._chunk_rows)
        targets = Targets(packed.targets, self.model.forbidden, [rows for rows, _ in spans])
        parts = {rows.start: packed.tokens.part(rows, tokens) for rows, tokens in spans}

        def loss_of_chunk(rows: slice, log_probs: Tensor) -> Tensor:
            return loss(parts[rows.start], log_probs)

        with self._autocast(packed):
            found = self.model.apply_head(self._hidden(packed), partial(ChunkedLoss.apply, targets, loss_of_chunk))
        return LossOfTokens(*found)

    def read_types(self) -> dict[str, torch.dtype]:
        """Return the type in which a pass reads each parameter: the one it is held in, or rounds it to."""
        rounded = self.model.held_types(self.dtype)
        return {
            name: parameter.dtype if parameter.dtype != torch.float32 else rounded[name.removeprefix("model.")]
            for name, parameter in self.named_parameters()
        }

    def _autocast(self, packed: PackedViews) -> torch.autocast:
        # Each weight is used once a pass: the cache would only keep a rounded copy of all of them to its end.
        return torch.autocast(
            packed.ids.device.type, self.dtype, enabled=self.dtype != torch.float32, cache_enabled=False
        )

    def _hidden(self, packed: PackedViews) -> Tensor:
        """Compute the hidden states [m, H] that predict the rows."""
        return self.model.hidden(packed.ids, packed.packing, self.model.source_rows(packed.rows))
