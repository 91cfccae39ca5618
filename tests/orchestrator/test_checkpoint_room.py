"""What is told of the room for checkpoints before a run starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config import Config, ConfigError, load_config
from common.models.config import ModelConfig
from common.models.folder import model_folder
from orchestrator.checkpoint_room import check_room, room_sentence
from tests.disks import small_disk

RECIPE = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"
MODEL = ModelConfig.from_folder(model_folder("builtin:quickstart"))


def config_of(folder: Path, *overrides: str) -> Config:
    return load_config(RECIPE, [f"run.folder={folder}", *overrides])


def test_the_size_of_one_and_of_all_is_told_with_what_is_free(tmp_path: Path) -> None:
    said = room_sentence(config_of(tmp_path / "a" / "run"), MODEL, steps=30)
    assert said.startswith(
        "21.9 MB each, one every 10 steps; those kept (2) and one being written take 65.7 MB in all; the "
    )
    assert "too little" not in said
    kept = config_of(tmp_path / "run", "learner.keep_every_steps=10")
    assert "; those kept (3) and one being written take 87.6 MB in all" in room_sentence(kept, MODEL, steps=30)
    assert "; those kept (2, and those of every 10 steps) and" in room_sentence(kept, MODEL, steps=None)
    assert not (tmp_path / "a").exists()


def test_too_little_room_is_told_and_for_none_the_run_is_refused(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "30m") as disk:
        config = config_of(disk / "run")
        assert room_sentence(config, MODEL, steps=30).endswith(
            "31.5 MB free, which is too little: make room, or keep fewer"
        )
        check_room(config, MODEL)
    with small_disk(tmp_path / "smaller", "20m") as disk:
        with pytest.raises(
            ConfigError, match=r"run\.folder .*: its disk has 21\.0 MB free, and a checkpoint takes 21\.9"
        ):
            check_room(config_of(disk / "run"), MODEL)


def test_kept_steps_must_have_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"keep_every_steps: 15 is no multiple of checkpoint_steps \(10\)"):
        config_of(tmp_path, "learner.keep_every_steps=15")
