"""Log-probabilities of tokens on given canvases, without gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from common.models.config import ModelConfig
from common.models.packing import Packing
from common.models.transformer import Rows

#: Rows whose logits exist together.
_ROWS_AT_ONCE = 64


class TokenModel(Protocol):
    """A model of tokens over packed batches."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def device(self) -> torch.device: ...

    def hidden(self, ids: Tensor, packing: Packing) -> Tensor:
        """Compute hidden states [N, H] of a packed batch of token ids [N]."""

    def logits(self, rows: Tensor) -> Tensor:
        """Compute fp32 logits [n, V] of hidden rows [n, H]; -inf at tokens that are never predicted."""

    def source_rows(self, target_rows: Rows) -> Rows:
        """Return the flat row whose hidden state predicts each target row."""


@torch.inference_mode()
def token_logprobs(
    model: TokenModel,
    canvases: npt.NDArray[np.int64],
    prompt_length: int,
    tokens: Sequence[int],
    wanted: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    """Compute log p of a completion's ``tokens`` [L] on each of the ``canvases`` [n, P + L]: [n, L].

    Only where ``wanted`` [n, L] is set; 0 elsewhere. Takes one forward pass over all canvases.
    """
    table = np.zeros(wanted.shape)
    canvas, position = wanted.nonzero()
    if not len(canvas):
        return table
    packing = Packing.of([canvases.shape[1]] * len(canvases), model.device)
    hidden = model.hidden(packing.pack(list(canvases)), packing)

    def tensor(values: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(model.device)

    rows = model.source_rows(tensor(np.asarray(packing.starts)[canvas] + prompt_length + position))
    chosen = tensor(np.asarray(tokens)[position])
    parts = [
        model.logits(hidden[some]).log_softmax(-1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)
        for some, ids in zip(torch.split(rows, _ROWS_AT_ONCE), torch.split(chosen, _ROWS_AT_ONCE), strict=True)
    ]
    table[canvas, position] = torch.cat(parts).double().cpu().numpy()
    return table
