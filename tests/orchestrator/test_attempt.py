"""How an attempt at a run ends, and what it leaves in its folder."""

from __future__ import annotations

import io
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from common.config import Config, ConfigError
from common.disk import DiskError
from common.errors import RunFailedError
from orchestrator.attempt import attempt
from orchestrator.interrupt import Interrupted, StopRequest
from orchestrator.report.display import Display
from orchestrator.run_recorder import RunOutput
from tests.disks import small_disk

Work = Callable[[RunOutput, StopRequest], None]


def config_of(folder: Path) -> Config:
    return Config.model_validate(
        {
            "run": {"name": "trial", "folder": folder, "steps": 3},
            "model": {"path": "builtin:quickstart"},
            "data": {"source": "synthetic"},
        }
    )


def run(folder: Path, work: Work, resume: str = "never") -> dict[str, object]:
    return attempt(config_of(folder), resume, Display(Console(file=io.StringIO())), work, lambda output: {})


def status(folder: Path) -> str:
    return str(json.loads((folder / "summary.json").read_text())["status"])


def fill(output: RunOutput, stop: StopRequest) -> None:
    with (output.folder.path / "some.log").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def vanish(output: RunOutput, stop: StopRequest) -> None:
    shutil.rmtree(output.folder.path)
    (output.folder.path / "some.log").write_text("a line")


def test_a_disk_that_fills_up_is_one_error_that_names_the_folder(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "100k") as disk:
        with pytest.raises(DiskError, match=r"disk/run: the disk has no room for what the run records; make room"):
            run(disk / "run", fill)


def test_a_folder_that_is_gone_is_one_error_and_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(
        DiskError, match=r"run: some\.log cannot be written: No such file .*; bring its folder back"
    ):
        run(tmp_path / "run", vanish)
    assert not (tmp_path / "run").exists()


def test_what_ended_the_run_is_told_though_its_summary_cannot_be_written(tmp_path: Path) -> None:
    def fail(output: RunOutput, stop: StopRequest) -> None:
        shutil.rmtree(output.folder.path)
        raise RunFailedError("the learner died")

    with pytest.raises(RunFailedError, match="the learner died"):
        run(tmp_path / "run", fail)


def test_files_elsewhere_are_none_of_the_folders_business(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run(tmp_path / "run", lambda output, stop: [*(tmp_path / "elsewhere").open()])
    assert status(tmp_path / "run") == "failed"


def stopped(output: RunOutput, stop: StopRequest) -> None:
    signal.raise_signal(signal.SIGTERM)
    stop.check()


def unusable(output: RunOutput, stop: StopRequest) -> None:
    raise ConfigError("data.train: no such file")


def test_a_start_that_is_stopped_or_refused_does_not_block_the_next(tmp_path: Path) -> None:
    for work, error in ((stopped, Interrupted), (unusable, ConfigError), (stopped, Interrupted)):
        with pytest.raises(error):
            run(tmp_path / "run", work)
    summary = run(tmp_path / "run", lambda output, stop: output.folder.append("metrics", {"step": 1}))
    assert (summary["status"], summary["updates"]) == ("finished", 1)
    with pytest.raises(ConfigError, match="holds a run already"):
        run(tmp_path / "run", stopped)
    with pytest.raises(ConfigError, match=r"data\.train"):
        run(tmp_path / "run", unusable, resume="auto")
    assert status(tmp_path / "run") == "failed"  # it has a step, and stays
