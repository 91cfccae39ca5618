"""Ranks of a stage that go on from a checkpoint: the same weights, whatever came between."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.stage_runs import STAGES, STEPS, exported, stage_config, train_alone, write_recipes

HALF = 5  # between two checkpoints, and within an epoch


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each stage that was done at once, and one that ended half-way and was gone on with."""
    folder = tmp_path_factory.mktemp("stages")
    write_recipes(folder)
    halves = [stage_config(folder, stage, folder / f"{stage}-halves") for stage in STAGES]
    train_alone(halves, stop_after=HALF)
    shutil.copytree(folder / "adapt-halves", folder / "adapt-ranks")
    train_alone([*(stage_config(folder, stage, folder / f"{stage}-whole") for stage in STAGES), *halves])
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_weights_do_not_depend_on_where_a_run_was_resumed(runs: Path, stage: str) -> None:
    whole, halves = exported(runs / f"{stage}-whole"), exported(runs / f"{stage}-halves")
    assert [name for name in whole if not torch.equal(whole[name], halves[name])] == []


def test_another_number_of_ranks_goes_on_with_the_same_data(runs: Path) -> None:
    train_alone([stage_config(runs, "adapt", runs / "adapt-ranks", "learner.ranks=2")])
    whole, ranks = exported(runs / "adapt-whole"), exported(runs / "adapt-ranks")
    assert max(float((whole[name] - ranks[name]).abs().max()) for name in whole) < 1e-5
    last = [(runs / name / "checkpoints" / "latest").read_text() for name in ("adapt-whole", "adapt-ranks")]
    assert last == [f"step-{STEPS:06d}"] * 2
