"""Attention on the way from causal to full, as a causal model becomes a masked-diffusion one (DiffuLLaMA).

Source: DiffuLLaMA (arXiv 2410.17891), attention mask annealing, and its released code, which draws once a step for
all sequences, heads and layers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from common import rng


def visible_share(annealing_steps: int, step: int) -> float:
    """Return the share of later positions that attention sees at a step (0-based); 1 from the last step on."""
    return min(1.0, (step + 1) / annealing_steps) if annealing_steps else 1.0


def visible_pairs(share: float, length: int, seed: int, step: int) -> npt.NDArray[np.bool_]:
    """Draw which positions (columns) each position (rows) of a sequence sees at a step, [length, length].

    A position sees itself, all before it, and each later one with probability ``share``.
    """
    draws = rng.stream(seed, "attention annealing", step).random((length, length), dtype=np.float32)
    pairs: npt.NDArray[np.bool_] = np.tri(length, dtype=bool) | (draws < share)
    return pairs
