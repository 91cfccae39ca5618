"""What a recipe of a supervised stage may not say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from common.config import ConfigError, StageConfig, load_stage_config


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


def test_a_mistake_in_a_source_is_told_once(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("stage: pretrain\nmodel: {path: model}\ndata: {sources: [{path: a.jsonl, wieght: 2}]}\n")
    with pytest.raises(ConfigError) as caught:
        load_stage_config(recipe, "pretrain")
    problems = str(caught.value).splitlines()[1:]
    assert len(problems) == 1
    assert "data.sources.0.wieght: unknown key" in problems[0]
    with pytest.raises(ConfigError, match=r"data\.sources: Tuple should have at least 1 item"):
        load_stage_config(recipe, "pretrain", ["data.sources=[]"])
