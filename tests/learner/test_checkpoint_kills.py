"""SIGKILL at random moments of Checkpoints.save: there is always a latest checkpoint, and it is complete."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from learner.checkpoints import Checkpoints, Ranks, adopt, find_damage, latest_checkpoint, load_progress
from learner.progress import Progress
from learner.retention import Retention

KILLS = 60
FILES, FILE_BYTES = 4, 100_000
DEADLINE = 20.0
SETTINGS = {"learner.ranks": 1}
ALONE = Ranks(0, 1, lambda: None)
FORK = multiprocessing.get_context("fork")  # a fresh interpreter for every kill would take most of the time


def content(version: int, rank: int, number: int) -> bytes:
    return hashlib.sha256(f"{version}.{rank}.{number}".encode()).digest() * (FILE_BYTES // 32)


def save_for_ever(folder: Path, first: int, rank: int, barrier: Barrier) -> None:
    """What a rank does between its start and its kill."""
    version = first

    def write(target: Path) -> None:
        (target / "engine").mkdir(exist_ok=True)
        for number in range(FILES):
            (target / "engine" / f"rank-{rank}-{number}").write_bytes(content(version, rank, number))

    def wait() -> None:
        barrier.wait()

    checkpoints = Checkpoints(folder, Retention(2), Ranks(rank, barrier.parties, wait), SETTINGS)
    while True:
        checkpoints.save(Progress(version=version, next_index=4 * version, trained=4 * version), write)
        version += 1


def check(checkpoint: Path, ranks: int) -> int:
    """The version of a checkpoint that must be complete."""
    assert find_damage(checkpoint) is None
    progress = load_progress(checkpoint, Progress)
    assert progress.next_index == progress.trained == 4 * progress.version
    for rank in range(ranks):
        for number in range(FILES):
            written = (checkpoint / "engine" / f"rank-{rank}-{number}").read_bytes()
            assert written == content(progress.version, rank, number)
    return progress.version


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_latest_checkpoint_is_complete_whenever_a_rank_is_killed(tmp_path: Path, ranks: int) -> None:
    draw = random.Random(ranks)
    versions, left_behind = [0], set()
    for _ in range(KILLS):
        barrier = FORK.Barrier(ranks)
        first = versions[-1] + 1
        processes = [
            FORK.Process(target=save_for_ever, args=(tmp_path, first, rank, barrier), daemon=True)
            for rank in range(ranks)
        ]
        for process in processes:
            process.start()
        time.sleep(draw.uniform(0.0, 0.08))
        draw.shuffle(processes)
        for process in processes:  # its peers wait at the barrier until they are killed too
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join(DEADLINE)
            assert process.exitcode == -signal.SIGKILL
        left_behind |= {path.suffix for path in tmp_path.glob(".step-*")}
        found = latest_checkpoint(tmp_path)
        version = check(found, ranks) if found is not None else 0
        assert version >= versions[-1], "a checkpoint that was published is gone"
        versions.append(version)
    assert versions[-1] >= KILLS / 10
    assert ".tmp" in left_behind, "no kill hit a checkpoint in the writing"

    Checkpoints(tmp_path, Retention(2), ALONE, SETTINGS).save(
        Progress(version=versions[-1] + 1), lambda folder: None
    )
    assert not list(tmp_path.glob(".*"))
    assert len(list(tmp_path.glob("step-*"))) == 2


def test_kills_while_a_run_makes_steps_again_that_it_was_taken_back_from(tmp_path: Path) -> None:
    """The step that ``latest`` names is replaced: not even then is it missing."""
    draw = random.Random(3)
    left_behind = set()
    for _ in range(KILLS):
        process = FORK.Process(target=save_again, args=(tmp_path,), daemon=True)
        process.start()
        time.sleep(draw.uniform(0.0, 0.1))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(DEADLINE)
        left_behind |= {path.suffix for path in tmp_path.glob(".step-*")}
        found = latest_checkpoint(tmp_path)
        if found is not None:
            assert check(found, 1) == 7
            if draw.random() < 0.5:  # the whole run is resumed; otherwise only the learner was restarted
                assert check(adopt(tmp_path, found), 1) == 7
    assert left_behind >= {".tmp", ".old"}


def save_again(folder: Path) -> None:
    def write(target: Path) -> None:
        (target / "engine").mkdir()
        for number in range(FILES):
            (target / "engine" / f"rank-0-{number}").write_bytes(content(7, 0, number))

    while True:
        checkpoints = Checkpoints(folder, Retention(2), ALONE, SETTINGS)
        checkpoints.save(Progress(version=7, next_index=28, trained=28), write)
