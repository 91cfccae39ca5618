from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from learner.checkpoints import CheckpointError, Checkpoints, latest_checkpoint, load_progress
from learner.collector import Progress


class Crash(BaseException):
    """A process that ends here."""


def crash(*_: object, **__: object) -> None:
    raise Crash


def writer(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "engine").mkdir()
        (folder / "engine" / "weights").write_text(text)

    return write


def make(folder: Path, keep: int = 2, leader: bool = True) -> Checkpoints:
    return Checkpoints(folder, keep, leader, barrier=lambda: None)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    progress = Progress(version=3, updates=5, next_index=20, trained=12, filtered=6, dropped=2)
    make(tmp_path).save(progress, writer("three"))
    found = latest_checkpoint(tmp_path)
    assert found == tmp_path / "step-000003"
    assert load_progress(found) == progress
    assert (found / "engine" / "weights").read_text() == "three"


def test_a_folder_without_checkpoints_has_no_latest(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "absent") is None


def crash_in_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to break: the writer itself crashes."""


def crash_in_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", crash)


def crash_before_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "rename", crash)


def crash_before_pointer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "replace", crash)


@pytest.mark.parametrize("fault", [crash_in_write, crash_in_sync, crash_before_rename, crash_before_pointer])
def test_a_crash_before_the_publication_leaves_latest_as_it_was(
    tmp_path: Path, fault: Callable[[pytest.MonkeyPatch], None]
) -> None:
    make(tmp_path).save(Progress(version=1), writer("one"))
    with pytest.MonkeyPatch.context() as patch:
        fault(patch)
        with pytest.raises(Crash):
            make(tmp_path).save(Progress(version=2), crash if fault is crash_in_write else writer("two"))
    found = latest_checkpoint(tmp_path)
    assert found == tmp_path / "step-000001"
    assert load_progress(found).version == 1

    make(tmp_path).save(Progress(version=2), writer("again"))
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert (found / "engine" / "weights").read_text() == "again"
    assert names(tmp_path) == ["latest", "step-000001", "step-000002"]


def test_the_oldest_are_removed_and_the_newest_stay(tmp_path: Path) -> None:
    for version in range(1, 6):
        make(tmp_path, keep=2).save(Progress(version=version), writer(str(version)))
    assert names(tmp_path) == ["latest", "step-000004", "step-000005"]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_a_run_resumed_from_an_early_checkpoint_keeps_what_it_writes(tmp_path: Path, keep: int) -> None:
    for version in (5, 10, 20):
        make(tmp_path, keep=3).save(Progress(version=version), writer(str(version)))
    make(tmp_path, keep).save(Progress(version=6), writer("six"))
    found = latest_checkpoint(tmp_path)
    assert found == tmp_path / "step-000006"
    assert load_progress(found).version == 6
    assert len(list(tmp_path.glob("step-*"))) == keep


def test_all_ranks_write_and_only_the_leader_publishes(tmp_path: Path) -> None:
    events: list[str] = []
    leader = Checkpoints(tmp_path, 2, leader=True, barrier=lambda: events.append("leader"))
    follower = Checkpoints(tmp_path / "never-made", 2, leader=False, barrier=lambda: events.append("follower"))
    follower.save(Progress(version=1), lambda folder: events.append(f"writes {folder.name}"))
    assert events == ["follower", "writes .step-000001.tmp", "follower", "follower"]
    assert not (tmp_path / "never-made").exists()
    leader.save(Progress(version=1), writer("one"))
    assert events.count("leader") == 3


def remove(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)


def truncate(checkpoint: Path) -> None:
    (checkpoint / "state.json").write_text('{"version": ')


def foreign(checkpoint: Path) -> None:
    (checkpoint / "state.json").write_text('{"epoch": 3}')


def empty(checkpoint: Path) -> None:
    (checkpoint / "state.json").unlink()


@pytest.mark.parametrize("damage", [remove, truncate, foreign, empty])
def test_a_broken_checkpoint_is_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    make(tmp_path).save(Progress(version=4), writer("four"))
    found = latest_checkpoint(tmp_path)
    assert found is not None
    damage(found)
    with pytest.raises(CheckpointError, match=r"step-000004: not a usable checkpoint"):
        load_progress(found)
