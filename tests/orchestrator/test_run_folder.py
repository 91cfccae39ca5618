from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import yaml

from common.config import Config, ConfigError, load_config
from common.disk import DiskError
from orchestrator import run_folder
from orchestrator.run_folder import RunFolder, read_records
from tests.disks import small_disk


def make_config(folder: Path, **run: object) -> Config:
    return Config.model_validate(
        {
            "run": {"name": "trial", "folder": folder, **run},
            "model": {"path": "builtin:quickstart"},
            "data": {"source": "synthetic"},
        }
    )


def test_a_new_folder_identifies_its_run(tmp_path: Path) -> None:
    config = make_config(tmp_path / "a" / "run")
    folder = RunFolder.open(config, resume=False)
    record = json.loads((folder.path / "run.json").read_text())
    assert record["run_id"] == folder.run_id
    assert folder.run_id.startswith("trial-")
    assert set(record["versions"]) >= {"torch", "ray", "deepspeed"}
    assert load_config(folder.path / "config.yaml") == config
    folder.close()


def test_a_taken_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    first = RunFolder.open(make_config(tmp_path), resume=False)
    first.append("metrics", {"step": 1})
    first.close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match=r"holds a run already; continue it with --resume auto"):
        RunFolder.open(make_config(tmp_path, steps=7), resume=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_resuming_keeps_the_run_id_and_takes_the_new_settings(tmp_path: Path) -> None:
    first = RunFolder.open(make_config(tmp_path), resume=False)
    first.close()
    again = RunFolder.open(make_config(tmp_path, steps=7), resume=True)
    assert again.run_id == first.run_id
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["run"]["steps"] == 7
    again.close()


def test_a_fixed_id_names_the_run_and_must_be_the_folders(tmp_path: Path) -> None:
    first = RunFolder.open(make_config(tmp_path, id="chosen"), resume=False)
    first.close()
    for same in ({"id": "chosen"}, {}):
        again = RunFolder.open(make_config(tmp_path, **same), resume=True)
        assert again.run_id == "chosen"
        again.close()
    with pytest.raises(ConfigError, match=r"run\.id other: run folder .* holds run chosen; leave run.id out"):
        RunFolder.open(make_config(tmp_path, id="other"), resume=True)
    RunFolder.open(make_config(tmp_path), resume=True).close()  # the refusal left no lock


def test_a_folder_in_a_jobs_copy_of_its_working_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "runtime_resources/working_dir_files/_ray_pkg_0123"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    with pytest.raises(ConfigError, match=r"such as run\.folder=/shared/runs/trial"):
        RunFolder.open(make_config(Path("runs/trial")), resume=False)
    assert not list(copy.iterdir())
    RunFolder.open(make_config(tmp_path / "shared"), resume=False).close()


def test_code_that_is_not_installed_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(package: str) -> str:
        if package == "couplet-rl":
            raise PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(run_folder, "version", installed)
    folder = RunFolder.open(make_config(tmp_path), resume=False)
    record = json.loads((folder.path / "run.json").read_text())
    assert record["versions"]["couplet-rl"] is None
    assert record["versions"]["ray"] == "1.0"
    assert record["code"] == str(Path(run_folder.__file__).parents[1])
    folder.close()


def test_resuming_an_empty_folder_starts_a_run(tmp_path: Path) -> None:
    folder = RunFolder.open(make_config(tmp_path / "new"), resume=True)
    assert (folder.path / "run.json").exists()
    folder.close()


def test_a_folder_locked_by_another_process_is_refused(tmp_path: Path) -> None:
    RunFolder.open(make_config(tmp_path), resume=False).close()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys\n"
            "file = open(sys.argv[1], 'w')\n"
            "fcntl.flock(file, fcntl.LOCK_EX)\n"
            "print('locked', flush=True)\n"
            "sys.stdin.read()\n",
            str(tmp_path / "lock"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(ConfigError, match="is in use by another process"):
            RunFolder.open(make_config(tmp_path), resume=True)
    finally:
        holder.communicate("", timeout=20)
    RunFolder.open(make_config(tmp_path), resume=True).close()  # the lock goes with its holder


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        RunFolder.open(make_config(tmp_path / "file" / "run"), resume=False)


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    folder = RunFolder.open(make_config(tmp_path), resume=False)
    folder.append("metrics", {"step": 1, "loss": 0.5})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert folder.records("metrics") == [{"step": 1, "loss": 0.5}]
    assert read_records(tmp_path, "absent") == []
    folder.close()


def test_rewinding_forgets_later_steps_and_mends_a_torn_line(tmp_path: Path) -> None:
    folder = RunFolder.open(make_config(tmp_path), resume=False)
    for name in ("metrics", "samples", "evaluations"):
        for step in (0, 1, 2, 2, 3):
            folder.append(name, {"step": step, "name": name})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4')
    folder.rewind(2)
    folder.append("metrics", {"step": 3, "name": "again"})
    assert [r["step"] for r in folder.records("samples")] == [0, 1, 2, 2]
    assert [r["step"] for r in folder.records("evaluations")] == [0, 1, 2, 2]
    assert [r["step"] for r in folder.records("metrics")] == [0, 1, 2, 2, 3]
    assert folder.records("metrics")[-1]["name"] == "again"
    assert not list(tmp_path.glob(".*.tmp"))
    folder.close()


def test_a_folder_in_which_no_step_was_done_blocks_nobody(tmp_path: Path) -> None:
    """As a start leaves it that was stopped or killed."""
    first = RunFolder.open(make_config(tmp_path / "run"), resume=False)
    assert not first.holds_steps()
    first.write_record("summary", {"status": "interrupted"})
    first.append("evaluations", {"step": 0})
    first.close()
    again = RunFolder.open(make_config(tmp_path / "run"), resume=False)
    assert again.run_id != first.run_id
    (again.path / "checkpoints" / "step-000002").mkdir(parents=True)
    assert again.holds_steps()
    again.close()
    with pytest.raises(ConfigError, match="holds a run already"):
        RunFolder.open(make_config(tmp_path / "run"), resume=False)


WRITES: dict[str, Callable[[RunFolder], None]] = {
    "metrics.jsonl": lambda folder: folder.append("metrics", {"step": 2, "text": "x" * 100_000}),
    "corpus.json": lambda folder: folder.write_record("corpus", {"text": "x" * 100_000}),
    "secret": lambda folder: folder.write_secret("secret", "x" * 100_000),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_full_disk_is_one_error_and_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        folder = RunFolder.open(make_config(disk / "run"), resume=False)
        folder.append("metrics", {"step": 1})
        folder.write_record("corpus", {"tokens": 1})
        with pytest.raises(DiskError, match=rf"disk/run: the disk has no room for {name}; make room"):
            WRITES[name](folder)
        assert (folder.path / "metrics.jsonl").read_text() == '{"step": 1}\n'
        assert json.loads((folder.path / "corpus.json").read_text()) == {"tokens": 1}
        assert not list(folder.path.glob(".*.tmp"))
        folder.append("metrics", {"step": 2})
        assert [record["step"] for record in folder.records("metrics")] == [1, 2]
        folder.close()


def test_a_folder_that_is_gone_or_read_only_is_one_error(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        folder = RunFolder.open(make_config(disk / "run"), resume=False)
        folder.append("metrics", {"step": 1})
        folder.close()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True, timeout=10)
        for write in (lambda: folder.append("metrics", {"step": 2}), lambda: folder.rewind(0)):
            with pytest.raises(DiskError, match=r"metrics\.jsonl cannot be written: Read-only file system;"):
                write()
        assert folder.records("metrics") == [{"step": 1}]
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True, timeout=10)
        shutil.rmtree(folder.path)
        with pytest.raises(DiskError, match=r"metrics\.jsonl cannot be written: No such file or dir.*; bring its"):
            folder.append("metrics", {"step": 2})
        assert not folder.path.exists()
