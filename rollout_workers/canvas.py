"""The packed token row of a batch: prompts and completions side by side, without padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from common.models.packing import Packing


class Canvas:
    """Lays out n prompts, each followed by L completion tokens.

    ``ids`` is the flat row; ``positions`` [n, L] are the places of the completions in it.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], length: int, device: torch.device) -> None:
        self.packing = Packing.of([len(prompt) + length for prompt in prompts], device)
        self.ids = self.packing.pack([[*prompt, *[0] * length] for prompt in prompts])
        first = [start + len(prompt) for start, prompt in zip(self.packing.starts, prompts, strict=True)]
        self.positions = torch.tensor(first, device=device).unsqueeze(1) + torch.arange(length, device=device)

    def write(self, tokens: Tensor) -> None:
        """Put the completions [n, L] in their places."""
        self.ids[self.positions] = tokens
