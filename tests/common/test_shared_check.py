"""One check of a bucket for all who read it, whatever happens to who makes it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import pytest

from common.weights import shared_reader
from common.weights.layout import WeightsError
from common.weights.shared_reader import SharedReader
from tests.common.shared_segments import LONG, Child, Sender, children, values


@pytest.fixture
def child() -> Iterator[Child]:
    with children() as start:
        yield start


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the buckets that this process has checked."""
    numbers: list[int] = []
    check: Callable[..., None] = shared_reader.check_bucket

    def counted(manifest: object, number: int, bucket: object) -> None:
        numbers.append(number)
        check(manifest, number, bucket)

    monkeypatch.setattr(shared_reader, "check_bucket", counted)
    return numbers


def read_in_part(pipe: Connection) -> None:
    """Read the first bucket, and no other until this process is killed."""
    manifest, where = pipe.recv()
    with SharedReader().reading(where, manifest, LONG) as opened:
        coming = opened.buckets()
        next(coming)
        pipe.send("read one")
        signal.pause()


def read_all(pipe: Connection) -> None:
    manifest, where = pipe.recv()
    reader = SharedReader()
    with reader.reading(where, manifest, LONG) as opened:
        pipe.send(values(opened))
    reader.close()


def test_what_one_has_checked_no_other_checks_unless_it_is_to_and_a_new_update_is_checked_anew(
    child: Child, checked: list[int]
) -> None:
    sender, reader = Sender(), SharedReader()
    for version in (1, 2, 3, 4):  # in two segments, in turn
        manifest, where = sender.publish(version)
        _, pipe = child(read_all, (manifest, where))
        assert pipe.recv() == [version] * 3
        with reader.reading(where, manifest, LONG) as opened:
            assert values(opened) == [version] * 3
            assert not checked
            list(opened.buckets(check=True))
        assert checked == [0, 1, 2]
        checked.clear()
    manifest, where = sender.publish(5)
    with reader.reading(where, manifest, LONG) as opened:
        assert values(opened) == values(opened) == [5.0] * 3
    assert checked == [0, 1, 2]
    reader.close()


@pytest.mark.parametrize("stroke", [signal.SIGKILL, signal.SIGSTOP])
def test_who_checks_and_is_killed_or_stands_still_keeps_nobody(
    child: Child, checked: list[int], stroke: signal.Signals
) -> None:
    sender, reader = Sender(), SharedReader()
    manifest, where = sender.publish(1)
    process, pipe = child(read_in_part, (manifest, where))
    assert pipe.recv() == "read one"
    assert process.pid is not None
    os.kill(process.pid, stroke)
    if stroke == signal.SIGKILL:
        process.join(LONG)
    with reader.reading(where, manifest, LONG) as opened:
        assert values(opened) == [1.0] * 3
        assert checked == [1, 2], "the first one was checked before"
        assert values(opened) == [1.0] * 3
    # Whoever takes the place of one that was killed counts for all; one that stands still may still count.
    assert checked == [1, 2] + ([1, 2] if stroke == signal.SIGSTOP else [])
    reader.close()


def test_damage_is_found_by_all_and_counts_for_nobody(child: Child, checked: list[int]) -> None:
    sender, readers = Sender(), [SharedReader(), SharedReader()]
    segment, manifest, where = sender.begin(1)
    sender.fill(segment, manifest)
    segment.bucket(manifest.layout, 1)[0] ^= 1
    for reader in readers:
        with (
            reader.reading(where, manifest, LONG) as opened,
            pytest.raises(WeightsError, match="bucket 1 is damaged"),
        ):
            values(opened)
    assert checked == [0, 1, 1]
    for reader in readers:
        reader.close()
