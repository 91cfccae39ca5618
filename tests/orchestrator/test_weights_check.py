from __future__ import annotations

import pytest

from common.weights.messages import Verification
from orchestrator.fleet.weights_check import Verified, WeightsCheck, WeightsDifferError


def found(*differing: str, version: int = 3, reloaded: bool = True, seconds: float = 1.0) -> Verification:
    return Verification(version, reloaded, 20, 1000, seconds, differing)


def test_workers_are_told_of_together_once_by_version_and_way() -> None:
    check = WeightsCheck()
    assert check.take() == []
    check.record("rollout-1", found(seconds=2.0))
    check.record("rollout-0", found(seconds=0.5))
    check.record("rollout-0", found(version=4, reloaded=False))
    assert check.take() == [
        Verified(("rollout-0", "rollout-1"), 3, True, 20, 1000, 2.0),
        Verified(("rollout-0",), 4, False, 20, 1000, 1.0),
    ]
    assert check.take() == []


@pytest.mark.parametrize(
    ("differing", "told"),
    [
        (("a",), "weights 3 that the learner published, after loading them: 1 of 20 tensors differ: a; its"),
        (tuple("abcdefg"), ": 7 of 20 tensors differ: a, b, c, d, e and 2 more; its"),
    ],
)
def test_a_difference_names_the_worker_and_its_first_tensors(differing: tuple[str, ...], told: str) -> None:
    with pytest.raises(WeightsDifferError, match=rf"^rollout\.verify_weights: rollout-7 does not hold .*{told}"):
        WeightsCheck().record("rollout-7", found(*differing))
