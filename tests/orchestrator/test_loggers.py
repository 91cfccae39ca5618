"""TensorBoard's and W&B's own files, read back."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import wandb

from common.config import Config, ConfigError
from orchestrator.loggers import check_loggers, open_loggers
from orchestrator.preflight import check_run

SAMPLE = {
    "step": 3,
    "task_id": "t7",
    "family": "",
    "prompt": "def f():\n    # the answer",
    "completion": "return forty_two",
    "reward": 1.5,
    "components": {"tests": 1.0},
    "verdicts": ["passed", "failed"],
}


def config(folder: Path, *names: str, **telemetry: object) -> Config:
    return Config.model_validate(
        {
            "run": {"folder": str(folder)},
            "model": {"path": "builtin:quickstart"},
            "data": {"source": "synthetic", "max_prompt_tokens": 128},
            "telemetry": {"loggers": list(names), **telemetry},
        }
    )


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody be logged in to W&B, and W&B write below the test's folder."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    wandb.teardown()  # what it read of the environment before


def test_tensorboard_shows_the_keys_of_metrics_jsonl_and_a_resumed_run_voids_what_it_does_again(
    tmp_path: Path,
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for version, steps in ((0, (1, 2, 3)), (1, (2,))):
        (logger,) = open_loggers(config(tmp_path, "tensorboard"), "run-1", version)
        for step in steps:
            logger.log({"reward/mean": step + version / 10, "seconds/step": 2.0}, step)
        logger.log_samples([SAMPLE], 2)
        logger.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"reward/mean", "seconds/step"}
    found = [(event.step, event.value) for event in events.Scalars("reward/mean")]
    assert found == [(1, pytest.approx(1.0)), (2, pytest.approx(2.1))]
    assert events.Tags()["tensors"] == ["samples/0/text_summary"]


@pytest.mark.usefixtures("nobody")
def test_wandb_keeps_the_run_under_its_own_id_with_what_the_recipe_says_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    place = {"project": "diffusion", "entity": "our-team", "group": "five-seeds", "tags": ["loo", "7b"]}
    logged = config(tmp_path, "wandb", wandb=place)
    check_loggers(logged.telemetry)
    (logger,) = open_loggers(logged, "run-1", 0)
    logger.log({"reward/mean": 0.75}, 3)
    logger.log_samples([SAMPLE], 3)
    logger.close()
    (file,) = tmp_path.glob("wandb/offline-run-*-run-1/run-run-1.wandb")
    (table,) = tmp_path.glob("wandb/offline-run-*-run-1/files/media/table/samples_*.table.json")
    shown = json.loads(table.read_text())
    (row,) = (dict(zip(shown["columns"], data, strict=True)) for data in shown["data"])
    assert row["completion"] == "return forty_two"
    assert (row["step"], row["reward"], row["verdicts"]) == (3, 1.5, "passed, failed")
    parts = (
        b"reward/mean",
        b"0.75",
        b"builtin:quickstart",
        b"diffusion",
        b"our-team",
        b"five-seeds",
        b"loo",
        b"samples",
    )
    end = time.monotonic() + 60.0
    while not all(part in file.read_bytes() for part in parts):  # W&B's own process writes it, in its own time
        assert time.monotonic() < end, file.read_bytes()
        time.sleep(0.05)


def test_a_logger_that_is_not_installed_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.loggers.find_spec", lambda name: None if name == "wandb" else name)
    with pytest.raises(ConfigError, match=r"telemetry.loggers: wandb .*pip install 'couplet-rl\[wandb\]'"):
        check_loggers(config(tmp_path, "tensorboard", "wandb").telemetry)


@pytest.mark.usefixtures("nobody")
def test_wandb_without_a_login_is_one_error_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = config(tmp_path, "wandb")
    with pytest.raises(
        ConfigError, match=r"telemetry\.loggers: wandb: nobody is logged in here; run `wandb login"
    ):
        check_loggers(wanted.telemetry)
    with pytest.raises(ConfigError, match=r"telemetry\.loggers: wandb: nobody is logged in"):
        check_run(wanted, "never")
    for mode in ("offline", "disabled"):
        monkeypatch.setenv("WANDB_MODE", mode)
        wandb.teardown()
        check_loggers(wanted.telemetry)


@pytest.mark.parametrize(
    ("names", "place", "message"),
    [
        (["wandb"], {"project": "a/b"}, r"telemetry\.wandb\.project"),
        (["wandb"], {"tags": [""]}, r"telemetry\.wandb\.tags\.0"),
        (["wandb"], {"entity": ""}, r"telemetry\.wandb\.entity"),
        (["tensorboard"], {"project": "ours"}, "wandb: not used; add wandb to loggers"),
        (["wandb", "wandb"], {}, "loggers: names wandb twice"),
    ],
)
def test_a_place_that_wandb_would_refuse_is_refused_at_once(
    tmp_path: Path, names: list[str], place: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        config(tmp_path, *names, wandb=place)
