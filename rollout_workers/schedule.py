"""How many tokens each denoising step commits."""

from __future__ import annotations


def budget(step: int, steps: int, length: int) -> int:
    """Tokens a row of ``length`` mask tokens commits at ``step`` (0-based) of ``steps``.

    The budgets of all steps add up to exactly ``length``, for every row on its own; the published sampler
    truncates and uses the batch mean instead.
    """
    return length * (step + 1) // steps - length * step // steps
