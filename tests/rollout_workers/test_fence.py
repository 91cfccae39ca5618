from __future__ import annotations

import threading

import pytest

from common.weights.fence import FenceTimeoutError, VersionFence

LONG = 30.0


def fence_at(version: int) -> VersionFence:
    fence = VersionFence()
    with fence.writing(version, LONG):
        pass
    return fence


def test_version_is_minus_one_until_the_first_write() -> None:
    fence = VersionFence()
    assert fence.version == -1
    with pytest.raises(FenceTimeoutError, match="version 0; holding -1"):
        fence.reading(0, 0.01).__enter__()
    assert fence_at(4).version == 4


def test_reader_is_told_the_version_it_reads_with() -> None:
    with fence_at(4).reading(2, LONG) as version:
        assert version == 4


def test_writer_waits_for_the_reader() -> None:
    fence, events = fence_at(0), []
    reading = threading.Event()

    def write() -> None:
        reading.wait(LONG)
        with fence.writing(1, LONG):
            events.append("written")

    writer = threading.Thread(target=write)
    writer.start()
    with fence.reading(0, LONG):
        reading.set()
        writer.join(0.1)
        events.append("read")
        assert fence.version == 0
    writer.join(LONG)
    assert events == ["read", "written"]
    assert fence.version == 1


def test_reader_waits_for_the_writer() -> None:
    fence, seen = fence_at(0), []

    def read() -> None:
        with fence.reading(0, LONG) as version:
            seen.append(version)

    reader = threading.Thread(target=read)
    with fence.writing(1, LONG):
        reader.start()
        reader.join(0.1)
        assert seen == []
    reader.join(LONG)
    assert seen == [1]


def test_reader_waits_for_a_version_new_enough() -> None:
    fence, seen = fence_at(0), []

    def read() -> None:
        with fence.reading(2, LONG) as version:
            seen.append(version)

    reader = threading.Thread(target=read)
    reader.start()
    with fence.writing(1, LONG):
        pass
    reader.join(0.1)
    assert seen == []
    with fence.writing(2, LONG):
        assert seen == []
    reader.join(LONG)
    assert seen == [2]


def test_missed_deadlines_are_named_and_leave_the_fence_usable() -> None:
    fence = fence_at(0)
    with pytest.raises(FenceTimeoutError, match="weights of version 1; holding 0"):
        fence.reading(1, 0.01).__enter__()
    with fence.reading(0, LONG), pytest.raises(FenceTimeoutError, match="held the weights"):
        fence.writing(1, 0.01).__enter__()
    with fence.writing(1, LONG):
        pass
    with fence.reading(1, LONG) as version:
        assert version == 1


def test_failed_write_leaves_no_version() -> None:
    fence = fence_at(3)
    with pytest.raises(RuntimeError, match="half written"), fence.writing(4, LONG):
        raise RuntimeError("half written")
    assert fence.version == -1
    with pytest.raises(FenceTimeoutError):
        fence.reading(0, 0.01).__enter__()
    with fence.writing(5, LONG):
        pass
    assert fence.version == 5


def test_failed_batch_frees_the_weights() -> None:
    fence = fence_at(3)
    with pytest.raises(RuntimeError, match="batch"), fence.reading(3, LONG):
        raise RuntimeError("batch")
    with fence.writing(4, LONG):
        pass
    assert fence.version == 4
