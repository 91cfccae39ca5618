"""The policy as the learner sees it: log-probabilities of tokens, and losses made of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from common.models.log_probabilities import ChunkedLoss, ChunkLoss, Targets, TokenLogProbs
from common.models.transformer import MaskedDiffusionModel
from learner.batch import PackedRows

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class LossOfTokens(NamedTuple):
    """A loss, of which ``value`` alone can be differentiated, and what it was made of.

    ``log_probs`` [m] are those of the targets, ``entropies`` [m] those of their distributions, in nats.
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

    def log_probs(self, packed: PackedRows) -> Tensor:
        """Compute the log-probability [m] of every target, in fp32."""
        with self._autocast(packed):
            function = partial(TokenLogProbs.apply, self._targets(packed))
            found: Tensor = self.model.apply_head(self._hidden(packed), function)
        return found

    def loss(self, packed: PackedRows, loss: ChunkLoss, visible: Tensor | None = None) -> LossOfTokens:
        """Compute a loss that is a sum over rows; ``loss`` is called for each of the chunks of ``packed``.

        ``visible`` restricts attention, as in :meth:`MaskedDiffusionModel.hidden`.
        """
        with self._autocast(packed):
            function = partial(ChunkedLoss.apply, self._targets(packed), loss)
            found = self.model.apply_head(self._hidden(packed, visible), function)
        return LossOfTokens(*found)

    def read_types(self) -> dict[str, torch.dtype]:
        """Return the type in which a pass reads each parameter: the one it is held in, or rounds it to."""
        rounded = self.model.held_types(self.dtype)
        return {
            name: parameter.dtype if parameter.dtype != torch.float32 else rounded[name.removeprefix("model.")]
            for name, parameter in self.named_parameters()
        }

    def _targets(self, packed: PackedRows) -> Targets:
        return Targets(packed.targets, self.model.forbidden, packed.chunks(self._chunk_rows), packed.row_of)

    def _autocast(self, packed: PackedRows) -> torch.autocast:
        # Each weight is used once a pass: the cache would only keep a rounded copy of all of them to its end.
        return torch.autocast(
            packed.ids.device.type, self.dtype, enabled=self.dtype != torch.float32, cache_enabled=False
        )

    def _hidden(self, packed: PackedRows, visible: Tensor | None = None) -> Tensor:
        """Compute the hidden states [u, H] that predict the rows."""
        rows = self.model.source_rows(packed.rows)
        return self.model.hidden(packed.ids, packed.packing, rows, visible, packed.spared)
