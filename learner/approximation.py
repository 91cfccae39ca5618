"""What a completion of an approximate sampler counts for, by what its rollout measured of the exact one."""

from __future__ import annotations

import math

from common.records import NOT_COMMITTED, Completion


def approximation_weight(completion: Completion, cap: float | None) -> float:
    """Compute min(cap, exp(D)), the weight of a completion that an approximate sampler wrote.

    D estimates log (exact / approximate likelihood) of all tokens that were committed by the mean of those that
    the rollout measured (:class:`common.records.Mismatch`). Without a cap, and where nothing was measured, the
    weight is 1.
    """
    measured = completion.mismatch
    if cap is None or not measured.tokens:
        return 1.0
    committed = sum(step != NOT_COMMITTED for step in completion.executed_step_map)
    return math.exp(min(math.log(cap), measured.log_ratio * committed / measured.tokens))
