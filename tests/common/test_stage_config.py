"""What a recipe of a supervised stage may not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from common.config import StageConfig


@pytest.mark.parametrize(
    ("stage", "objective", "message"),
    [
        ("pretrain", {"annealing_steps": 10}, "objective.annealing_steps: only adapt has it"),
        ("pretrain", {"phase_in_epochs": 1}, "objective.phase_in_epochs: only sft has it"),
        ("adapt", {"pad_weight": 0.5}, "objective.pad_weight: only sft has it"),
        ("sft", {"truncate_share": 0.01}, "prefix_share: of documents"),
        ("sft", {"prefix_share": 0.01}, "prefix_share: of documents"),
    ],
)
def test_settings_of_another_stage_are_refused(stage: str, objective: Mapping[str, Any], message: str) -> None:
    given = {"stage": stage, "model": {"path": "model"}, "data": {"sources": "corpus"}, "objective": objective}
    with pytest.raises(ValueError, match=message):
        StageConfig.model_validate(given)
