"""The quick start's claim: held-out pass rates rise by the rewards of the model's own programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.system.conftest import REPOSITORY
from tests.system.in_process import make_run


@pytest.mark.timeout(600)
def test_a_part_of_the_quick_start_raises_the_held_out_pass_rate(tmp_path: Path) -> None:
    """In one process, which ends with the weights of a run of actors: tests/system/test_same_weights.py."""
    overrides = ("run.steps=6", "learner.ranks=1", "learner.zero_stage=0", "rollout.workers=1")
    overrides += ("learner.groups_per_step=8", "data.held_out_tasks=100", "reward.sandbox_slots=1")
    make_run(REPOSITORY / "recipes/quickstart.yaml", overrides, tmp_path)
    lines = (tmp_path / "evaluations.jsonl").read_text().splitlines()
    before, after = (json.loads(line)["pass_rate"] for line in lines)
    assert 0.3 < before < 0.6, "the start is meant to be mediocre"
    assert after > before + 0.15
