from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import xxhash
from safetensors.torch import save_file

from learner.checkpoints import (
    CheckpointError,
    Checkpoints,
    Ranks,
    adopt,
    latest_checkpoint,
    load_progress,
    load_settings,
    newest_whole,
    require_whole,
)
from learner.progress import Progress
from learner.retention import Retention
from tests.disks import small_disk

SETTINGS = {"learner.ranks": 2, "run.seed": 0}


class Crash(BaseException):
    """A process that ends here."""


def crash(*_: object, **__: object) -> None:
    raise Crash


def writer(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "engine").mkdir()
        (folder / "engine" / "weights").write_text(text)

    return write


def make(folder: Path, keep: int = 2, every: int = 0) -> Checkpoints:
    return Checkpoints(folder, Retention(keep, every), Ranks(0, 1, lambda: None), SETTINGS)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    progress = Progress(version=3, updates=5, next_index=20, trained=12, filtered=6, dropped=2)
    make(tmp_path).save(progress, writer("three"))
    found = latest_checkpoint(tmp_path)
    assert found == tmp_path / "step-000003"
    assert load_settings(found) == SETTINGS
    assert load_progress(found, Progress) == progress
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
    assert load_progress(found, Progress).version == 1

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
    assert load_progress(found, Progress).version == 6
    assert len(list(tmp_path.glob("step-*"))) == keep


def test_steps_that_the_run_was_taken_back_from_go_first(tmp_path: Path) -> None:
    for version in (5, 10, 20):
        make(tmp_path, keep=3).save(Progress(version=version), writer(str(version)))
    for version, kept in ((6, ["05", "06", "20"]), (7, ["05", "06", "07"]), (8, ["06", "07", "08"])):
        make(tmp_path, keep=3).save(Progress(version=version), writer(str(version)))
        assert names(tmp_path) == ["latest", *(f"step-0000{number}" for number in kept)]


def test_a_step_made_again_replaces_the_earlier_one_and_is_never_missing(tmp_path: Path) -> None:
    make(tmp_path).save(Progress(version=4), writer("first"))

    def crash_at_second(path: Path, target: Path, rename: Callable[[Path, Path], Path] = Path.rename) -> Path:
        if path.suffix == ".tmp":
            raise Crash
        return rename(path, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", crash_at_second)
        with pytest.raises(Crash):
            make(tmp_path).save(Progress(version=4), writer("second"))
    assert names(tmp_path) == [".step-000004.old", ".step-000004.tmp", "latest"]
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert load_progress(found, Progress).version == 4

    assert adopt(tmp_path, found) == tmp_path / "step-000004" == latest_checkpoint(tmp_path)
    assert (tmp_path / "step-000004" / "engine" / "weights").read_text() == "first"
    make(tmp_path).save(Progress(version=4), writer("third"))
    assert (tmp_path / "step-000004" / "engine" / "weights").read_text() == "third"
    assert names(tmp_path) == ["latest", "step-000004"]


def test_a_run_goes_on_from_the_checkpoint_it_adopted_until_it_has_one_of_its_own(tmp_path: Path) -> None:
    theirs, own = tmp_path / "theirs", tmp_path / "own"
    for version in (4, 8):
        make(theirs).save(Progress(version=version), writer(str(version)))
    assert adopt(theirs, theirs / "step-000004") == latest_checkpoint(theirs)
    assert adopt(own, theirs / "step-000008") == theirs / "step-000008" == latest_checkpoint(own)
    assert not list(own.glob("step-*"))

    shutil.move(theirs, tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"own/latest: names .*theirs/step-000008, which is gone"):
        latest_checkpoint(own)
    shutil.move(tmp_path / "elsewhere", theirs)
    make(own, keep=1).save(Progress(version=9), writer("nine"))
    assert latest_checkpoint(own) == own / "step-000009"
    assert (theirs / "step-000008").is_dir()


def test_what_kills_left_behind_is_removed_by_the_next_checkpoint(tmp_path: Path) -> None:
    make(tmp_path).save(Progress(version=1), writer("one"))
    for name in (".step-000002.tmp", ".step-000007.tmp", ".step-000001.old", ".step-000000.old"):
        (tmp_path / name).mkdir()
        writer("half")(tmp_path / name)
    assert latest_checkpoint(tmp_path) == tmp_path / "step-000001"
    make(tmp_path, keep=1).save(Progress(version=3), writer("three"))
    assert names(tmp_path) == ["latest", "step-000003"]


def test_all_ranks_write_and_hash_and_only_rank_0_publishes(tmp_path: Path) -> None:
    met = threading.Barrier(2)
    seen: list[list[str]] = []

    def rank(number: int) -> None:
        def write(folder: Path) -> None:
            (folder / f"part-{number}").write_text(f"of rank {number}")
            seen.append(names(tmp_path))

        def wait() -> None:
            met.wait(20)

        Checkpoints(tmp_path, Retention(2), Ranks(number, 2, wait), SETTINGS).save(Progress(version=1), write)

    with ThreadPoolExecutor(2) as pool:
        for ended in [pool.submit(rank, number) for number in (0, 1)]:
            ended.result(30)
    assert seen == [[".step-000001.tmp"]] * 2
    assert names(tmp_path) == ["latest", "step-000001"]
    assert names(tmp_path / "step-000001") == ["digests.json", "part-0", "part-1", "state.json"]
    digests = json.loads((tmp_path / "step-000001" / "digests.json").read_text())
    assert digests == {
        name: [len(data), xxhash.xxh3_128_hexdigest(data)]
        for name in ("part-0", "part-1", "state.json")
        for data in [(tmp_path / "step-000001" / name).read_bytes()]
    }


def remove(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)


def truncate(checkpoint: Path) -> None:
    (checkpoint / "state.json").write_text('{"version": ')


def foreign(checkpoint: Path) -> None:
    (checkpoint / "state.json").write_text('{"epoch": 3}')


def unknown(checkpoint: Path) -> None:
    (checkpoint / "state.json").write_text('{"progress": {"epoch": 3}, "settings": {}}')


def older(checkpoint: Path) -> None:
    """Of a version that kept the counts alone."""
    (checkpoint / "state.json").write_text('{"version": 4, "updates": 8, "next_index": 16, "trained": 16}')


def empty(checkpoint: Path) -> None:
    (checkpoint / "state.json").unlink()


@pytest.mark.parametrize("damage", [remove, truncate, foreign, unknown, older, empty])
def test_a_broken_checkpoint_is_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    make(tmp_path).save(Progress(version=4), writer("four"))
    found = latest_checkpoint(tmp_path)
    assert found is not None
    damage(found)
    with pytest.raises(CheckpointError, match=r"step-000004: not a usable checkpoint"):
        load_progress(found, Progress)


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def shorten(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def write_two(folder: Path) -> None:
    (folder / "engine").mkdir()
    for name in ("model.pt", "optimizer.pt"):
        (folder / "engine" / name).write_bytes(name.encode() * 1000)


FILES = ["engine/model.pt", "engine/optimizer.pt", "state.json", "digests.json"]


@pytest.mark.parametrize("harm", [flip, shorten, Path.unlink])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_named_and_the_checkpoint_before_taken(
    tmp_path: Path, file: str, harm: Callable[[Path], None]
) -> None:
    for version in (2, 4):
        make(tmp_path).save(Progress(version=version), write_two)
    last, before = tmp_path / "step-000004", tmp_path / "step-000002"
    assert newest_whole(last) == (last, [])
    require_whole(last)
    harm(last / file)
    found, lines = newest_whole(last)
    assert found == before
    assert len(lines) == 1
    assert lines[0].startswith("checkpoint step-000004 is damaged: ")
    if file != "digests.json":  # of that, what differs may be named
        assert file in lines[0]
        assert {flip: "has other bytes", shorten: "of its", Path.unlink: "is missing"}[harm] in lines[0]
    with pytest.raises(CheckpointError, match=r"step-000004: not a usable checkpoint: .*; take .*step-000002$"):
        require_whole(last)
    harm(before / file)
    with pytest.raises(CheckpointError, match=r"no checkpoint is whole: .*step-000004 .*step-000002 is damaged"):
        newest_whole(last)


def test_a_damaged_pointer_does_not_hide_the_newest(tmp_path: Path) -> None:
    make(tmp_path).save(Progress(version=2), write_two)
    make(tmp_path).save(Progress(version=4), write_two)
    for text in (b"step-0000\xb04", b"", b"stdp-000004", b"step-000004\0", b"/step-000004"[1:] + b"/"):
        (tmp_path / "latest").write_bytes(text)
        assert latest_checkpoint(tmp_path) == tmp_path / "step-000004"


def test_checkpoints_of_every_so_many_steps_stay(tmp_path: Path) -> None:
    for version in (2, 4, 6, 8, 10, 12, 13):
        make(tmp_path, keep=2, every=4).save(Progress(version=version), writer(str(version)))
    assert [path.name[-2:] for path in sorted(tmp_path.glob("step-*"))] == ["04", "08", "12", "13"]
    make(tmp_path, keep=2, every=4).save(Progress(version=6), writer("6"))  # taken back to an earlier one
    assert [path.name[-2:] for path in sorted(tmp_path.glob("step-*"))] == ["04", "06"]


@pytest.mark.parametrize("last", [1, 2, 3])
@pytest.mark.parametrize("every", [0, 4, 6])
def test_retention_is_that_of_a_plain_loop_and_its_bound_holds(last: int, every: int) -> None:
    retention, kept = Retention(last, every), list[int]()
    for step in range(2, 31, 2):
        kept = [old for old in kept if old not in retention.surplus(kept, step)] + [step]
        newest = sorted(range(2, step + 1, 2))[-last:]
        naive = {old for old in range(2, step + 1, 2) if (every and old % every == 0) or old in newest}
        assert len(kept) <= retention.most(step, checkpoint_steps=2)
        assert set(kept) == naive


MEGABYTE = 1 << 20


@pytest.fixture(name="small_disk")
def disk_of_4_mib(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    with small_disk(tmp_path / "disk", "4m") as folder:
        yield folder


def write_torch(folder: Path, count: int) -> None:
    (folder / "engine").mkdir()
    torch.save({"weights": torch.zeros(count)}, folder / "engine" / "weights.pt")


def write_safetensors(folder: Path, count: int) -> None:
    save_file({"weights": torch.zeros(count)}, folder / "reference.safetensors")


def write_bytes(folder: Path, count: int) -> None:
    (folder / "weights").write_bytes(bytes(4 * count))


Write = Callable[[Path, int], None]
WRITERS = [write_torch, write_safetensors, write_bytes]


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_is_one_clear_error_before_anything_is_written(small_disk: Path, write: Write) -> None:
    folder = small_disk / "checkpoints"
    make(folder, keep=3).save(Progress(version=2), lambda target: write(target, MEGABYTE // 4))
    (small_disk / "other").write_bytes(bytes(5 * MEGABYTE // 2))
    calls: list[Path] = []
    with pytest.raises(
        CheckpointError,
        match=r"disk/checkpoints: no room for checkpoint step-000004: it needs 1,\d{3},\d{3} bytes and the disk "
        r"has \d{3},\d{3} free; make room and go on with --resume auto \(checkpoint step-000002 is whole\)",
    ):
        make(folder, keep=3).save(Progress(version=4), calls.append)
    assert calls == []
    assert latest_checkpoint(folder) == folder / "step-000002"
    (small_disk / "other").unlink()
    make(folder, keep=3).save(Progress(version=4), lambda target: write(target, MEGABYTE // 4))
    assert names(folder) == ["latest", "step-000002", "step-000004"]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("first", [True, False])
def test_a_disk_that_fills_up_leaves_the_checkpoint_before_and_nothing_else(
    small_disk: Path, write: Write, first: bool
) -> None:
    folder = small_disk / "checkpoints"
    if not first:
        make(folder).save(Progress(version=2), lambda target: write(target, MEGABYTE // 8))
    needed = "more than" if first else r"\d{3},\d{3} bytes"
    with pytest.raises(CheckpointError, match=f"no room for checkpoint step-000004: it needs {needed}"):
        make(folder).save(Progress(version=4), lambda target: write(target, 2 * MEGABYTE))
    assert names(folder) == ([] if first else ["latest", "step-000002"])
    assert shutil.disk_usage(small_disk).free > 3 * MEGABYTE
    make(folder).save(Progress(version=4), lambda target: write(target, MEGABYTE // 8))
    assert latest_checkpoint(folder) == folder / "step-000004"


def test_a_disk_that_became_read_only_is_one_error(small_disk: Path) -> None:
    folder = small_disk / "checkpoints"
    make(folder).save(Progress(version=2), writer("two"))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True, timeout=10)
    with pytest.raises(CheckpointError, match=r"checkpoints: checkpoint step-000004 cannot be written: Read-only"):
        make(folder).save(Progress(version=4), writer("four"))
    assert names(folder) == ["latest", "step-000002"]


@pytest.mark.parametrize("write", WRITERS)
def test_a_folder_that_is_gone_is_one_error_and_stays_gone(tmp_path: Path, write: Write) -> None:
    run = tmp_path / "run"
    run.mkdir()

    def lose(target: Path) -> None:
        shutil.rmtree(run)
        write(target, 8)

    for writing in (lose, lambda target: write(target, 8)):  # before the second one it is gone already
        with pytest.raises(CheckpointError, match=r"step-000004 cannot be written: No such file .*; bring its"):
            make(run / "checkpoints").save(Progress(version=4), writing)
        assert not run.exists()


def test_other_failures_of_a_rank_stay_what_they_are(tmp_path: Path) -> None:
    def lose_a_peer(target: Path) -> None:
        raise RuntimeError("connection closed by peer")

    with pytest.raises(RuntimeError, match="closed by peer"):
        make(tmp_path).save(Progress(version=4), lose_a_peer)
    assert names(tmp_path) == []
