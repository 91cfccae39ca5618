"""TensorBoard's and W&B's own files, read back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from common.config import Config, ConfigError
from orchestrator.loggers import check_loggers, open_loggers


def config(folder: Path, *names: str) -> Config:
    return Config.model_validate(
        {
            "run": {"folder": str(folder)},
            "model": {"path": "builtin:quickstart"},
            "data": {"source": "synthetic"},
            "telemetry": {"loggers": list(names)},
        }
    )


def test_tensorboard_shows_the_keys_of_metrics_jsonl_and_a_resumed_run_voids_what_it_does_again(
    tmp_path: Path,
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for version, steps in ((0, (1, 2, 3)), (1, (2,))):
        (logger,) = open_loggers(config(tmp_path, "tensorboard"), "run-1", version)
        for step in steps:
            logger.log({"reward/mean": step + version / 10, "seconds/step": 2.0}, step)
        logger.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"reward/mean", "seconds/step"}
    found = [(event.step, event.value) for event in events.Scalars("reward/mean")]
    assert found == [(1, pytest.approx(1.0)), (2, pytest.approx(2.1))]


def test_wandb_keeps_the_run_under_its_own_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (logger,) = open_loggers(config(tmp_path, "wandb"), "run-1", 0)
    logger.log({"reward/mean": 0.75}, 3)
    logger.close()
    (file,) = tmp_path.glob("wandb/offline-run-*-run-1/run-run-1.wandb")
    parts = (b"reward/mean", b"0.75", b"builtin:quickstart")
    end = time.monotonic() + 60.0
    while not all(part in file.read_bytes() for part in parts):  # W&B's own process writes it, in its own time
        assert time.monotonic() < end, file.read_bytes()
        time.sleep(0.05)


def test_a_logger_that_is_not_installed_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.loggers.find_spec", lambda name: None if name == "wandb" else name)
    with pytest.raises(ConfigError, match=r"telemetry.loggers: wandb .*pip install 'couplet-rl\[wandb\]'"):
        check_loggers(["tensorboard", "wandb"])
