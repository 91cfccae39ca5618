"""Weights in shared memory: read while they are filled, kept while they are read, gone with their sender."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from torch import Tensor

from common.heartbeat import Heartbeat
from common.weights import futex
from common.weights.buckets import plan_layout, read_buckets
from common.weights.comparison import HeldTensors
from common.weights.fence import VersionFence
from common.weights.layout import Manifest, WeightsError
from common.weights.loader import LocalWeights, WeightsLoader
from common.weights.messages import BroadcastError, SharedBuckets, WeightsGoneError, WeightsUpdate
from common.weights.segments import NoRoomError, Segments, segment_bytes
from common.weights.shared_reader import SharedReader
from tests.common.shared_segments import LONG, NAMES, Child, Sender, children, layout, values


@pytest.fixture
def reader() -> Iterator[SharedReader]:
    reader = SharedReader()
    yield reader
    reader.close()


def test_buckets_are_read_as_they_are_filled_and_again_by_whoever_comes_late(reader: SharedReader) -> None:
    sender = Sender()
    segment, manifest, where = sender.begin(3)
    with reader.reading(where, manifest, LONG) as opened:
        sender.fill(segment, manifest, 1)
        coming = opened.buckets()
        assert float(next(coming)[:4].view(torch.float32)) == 3.0
        filling = threading.Thread(target=sender.fill, args=(segment, manifest))
        filling.start()
        assert len(list(coming)) == 2
        filling.join(LONG)
    with reader.reading(where, manifest, LONG) as opened:
        assert values(opened) == values(opened) == [3.0] * 3


def test_memory_is_used_again_in_turn_and_never_what_is_read_or_kept(reader: SharedReader) -> None:
    sender = Sender()
    first, second = sender.publish(1), sender.publish(2)
    with reader.reading(first[1], first[0], LONG) as opened:
        third = sender.publish(3)
        assert values(opened) == [1.0] * 3
    assert third[1].key == second[1].key
    with (
        pytest.raises(WeightsGoneError, match="version 2 have been written over"),
        reader.reading(second[1], second[0], LONG),
    ):
        pass
    fourth = sender.publish(4, first[1].serial)
    assert fourth[1].key == second[1].key, "the older one is kept"
    assert sender.publish(5)[1].key == first[1].key


def test_an_update_that_is_kept_is_never_written_over_and_more_memory_is_taken_instead() -> None:
    """Two receivers compute with one version each, and nobody waits for them."""
    sender, readers, kept, others = Sender(), [SharedReader(), SharedReader()], [], _open_segments()
    for version, reader in enumerate(readers, 1):
        manifest, where = sender.publish(version)
        with reader.reading(where, manifest, LONG) as opened:
            kept.append((where.key, list(opened.buckets())))
            opened.keep()
        with reader.reading(where, manifest, LONG):
            pass  # which does not let go of it
    keys = {sender.publish(version)[1].key for version in range(3, 6)}
    assert len(keys) == 1
    assert not keys & {key for key, _ in kept}
    assert [[float(b[:4].view(torch.float32)) for b in buckets] for _, buckets in kept] == [[1.0] * 3, [2.0] * 3]
    readers[0].let_go()
    assert sender.publish(6)[1].key == kept[0][0]
    assert _open_segments() - others == 3
    for reader in readers:
        reader.close()


def test_a_damaged_bucket_and_a_sender_that_gives_up_or_is_late_are_errors(reader: SharedReader) -> None:
    sender = Sender()
    segment, manifest, where = sender.begin(1)
    sender.fill(segment, manifest)
    segment.bucket(manifest.layout, 1)[0] ^= 1
    with reader.reading(where, manifest, LONG) as opened, pytest.raises(WeightsError, match="bucket 1 is damaged"):
        values(opened)
    segment, manifest, where = sender.begin(2)
    sender.fill(segment, manifest, 1)
    with reader.reading(where, manifest, 0.05) as opened, pytest.raises(BroadcastError, match="not come in time"):
        values(opened)
    segment.give_up()
    with reader.reading(where, manifest, LONG) as opened, pytest.raises(BroadcastError, match="given up"):
        values(opened)


def test_more_than_there_is_room_for_is_refused_before_anything_is_taken() -> None:
    huge = plan_layout([("a", torch.empty(1 << 50, device="meta"))], {"a": torch.float32}, 1)
    with pytest.raises(NoRoomError, match=r"MiB of shared memory are needed, and \d+ MiB are free"):
        Segments().begin(huge, ())


def send_until_killed(pipe: Connection) -> None:
    sender = Sender()
    segment, manifest, where = sender.begin(1)
    sender.fill(segment, manifest, 1)
    pipe.send((manifest, where))
    signal.pause()


def read_until_killed(pipe: Connection) -> None:
    manifest, where = pipe.recv()
    with SharedReader().reading(where, manifest, LONG):
        pipe.send("reading")
        signal.pause()


def write_to_what_is_held(pipe: Connection) -> None:
    """Once it is told to, in vain."""
    manifest, where = pipe.recv()
    held, reader = {name: torch.zeros(500) for name in NAMES}, SharedReader()
    with reader.reading(where, manifest, LONG) as opened:
        assert HeldTensors(held).adopt(manifest.layout, read_buckets(manifest, opened.buckets()))
        opened.keep()
    pipe.send([float(tensor[-1]) for tensor in held.values()])
    pipe.recv()
    held["b"][0] = 9.0


@pytest.fixture
def child() -> Iterator[Child]:
    with children() as start:
        yield start


def test_a_sender_that_is_killed_leaves_nothing_and_its_receivers_no_half_weights(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(Path("/dev/shm").iterdir())
    process, pipe = child(send_until_killed)
    manifest, where = pipe.recv()
    assert not {path for path in set(Path("/dev/shm").iterdir()) - before if "couplet" in path.name}
    monkeypatch.setattr("common.weights.loader.Location.here", lambda: where)
    fence, held = VersionFence(), {name: torch.zeros(500) for name in NAMES}
    loader = WeightsLoader(LocalWeights(HeldTensors(held)), fence, LONG, LONG, Heartbeat(LONG))
    process.kill()
    process.join(LONG)
    with pytest.raises(WeightsGoneError, match="has ended"):
        loader.from_store(WeightsUpdate(manifest, where))
    assert fence.version == -1

    sender = Sender()
    loader.from_store(WeightsUpdate(*sender.publish(4)))
    segment, manifest, where = sender.begin(5)
    sender.fill(segment, manifest, 2)
    sender.publish(6)
    sender.publish(7)
    with pytest.raises(WeightsGoneError):
        loader.from_store(WeightsUpdate(manifest, where))
    assert fence.version == 4, "nothing was overwritten"
    segment, manifest, where = sender.begin(8)
    sender.fill(segment, manifest, 2)
    segment.give_up()
    with pytest.raises(BroadcastError):
        loader.from_store(WeightsUpdate(manifest, where))
    assert fence.version == -1


def test_a_sender_killed_in_the_middle_and_a_reader_killed_while_it_reads_hold_nobody_up(
    child: Child, reader: SharedReader
) -> None:
    process, pipe = child(send_until_killed)
    manifest, where = pipe.recv()
    with reader.reading(where, manifest, LONG) as opened:
        process.kill()
        process.join(LONG)
        with pytest.raises(BroadcastError, match="bucket 1 will not come"):
            values(opened)

    sender = Sender()
    first = sender.publish(1)
    process, pipe = child(read_until_killed, first)
    assert pipe.recv() == "reading"
    assert sender.publish(2)[1].key == sender.publish(3)[1].key != first[1].key
    process.kill()
    process.join(LONG)
    keys = {sender.publish(version)[1].key for version in (4, 5)}
    assert first[1].key in keys


def test_a_stray_write_to_weights_that_are_held_in_place_ends_its_process_and_harms_no_other(
    child: Child, reader: SharedReader
) -> None:
    sender = Sender()
    manifest, where = sender.publish(1)
    process, pipe = child(write_to_what_is_held, (manifest, where))
    assert pipe.recv() == [1.0] * 3
    keys = {sender.publish(version)[1].key for version in (2, 3)}
    assert where.key not in keys, "it is held, by a process that is no longer reading"
    pipe.send("write")
    process.join(LONG)
    assert process.exitcode == -signal.SIGSEGV
    with reader.reading(where, manifest, LONG) as opened:
        assert values(opened) == [1.0] * 3
    assert sender.publish(4)[1].key == where.key


@pytest.fixture
def held() -> dict[str, Tensor]:
    return {name: torch.zeros(500) for name in NAMES}


@pytest.fixture
def loader(held: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> WeightsLoader:
    where = SharedBuckets("node", 0, 0, 0, 0)
    monkeypatch.setattr("common.weights.loader.Location.here", lambda: where)
    return WeightsLoader(LocalWeights(HeldTensors(held)), VersionFence(), LONG, LONG, Heartbeat(LONG))


def in_place(manifest: Manifest, where: SharedBuckets) -> WeightsUpdate:
    return WeightsUpdate(manifest, dataclasses.replace(where, in_place=True))


def test_a_loader_holds_an_update_where_it_lies_until_it_has_another(
    loader: WeightsLoader, held: dict[str, Tensor]
) -> None:
    sender = Sender()
    first, second = sender.publish(1), sender.publish(2)
    for version, update in ((1, first), (2, second)):
        assert loader.from_store(in_place(*update)) == version
        assert [tensor.unique().tolist() for tensor in held.values()] == [[version]] * 3
    assert sender.publish(3)[1].key == first[1].key, "what was held before is written over"
    assert [tensor.unique().tolist() for tensor in held.values()] == [[2.0]] * 3
    found = loader.verify(in_place(*second), reload=True)
    assert (found.differing, found.reloaded) == ((), True)
    assert sender.publish(4)[1].key == first[1].key

    loader.from_store(WeightsUpdate(*sender.publish(5)))  # not laid out to be held
    copies = {name: tensor.clone() for name, tensor in held.items()}
    assert {sender.publish(version)[1].key for version in range(6, 9)} >= {second[1].key}
    assert all(torch.equal(held[name], copies[name]) for name in NAMES)


def test_a_damaged_bucket_or_another_models_is_noticed_before_anything_is_held(
    loader: WeightsLoader, held: dict[str, Tensor]
) -> None:
    sender = Sender()
    first = sender.publish(1)
    loader.from_store(in_place(*first))
    segment, manifest, where = sender.begin(2)
    sender.fill(segment, manifest)
    segment.bucket(manifest.layout, 2)[0] ^= 1
    with pytest.raises(WeightsError, match="bucket 2 is damaged"):
        loader.from_store(in_place(manifest, where))
    other = held.pop("c")
    with pytest.raises(WeightsError, match="no place for c"):
        loader.from_store(in_place(*sender.publish(3)))
    held["c"] = other
    assert [tensor.unique().tolist() for tensor in held.values()] == [[1.0]] * 3
    assert first[1].key not in {sender.publish(version)[1].key for version in (4, 5)}


def test_memory_that_was_prepared_is_what_the_next_update_takes() -> None:
    segments, size, others = Segments(), segment_bytes(layout()), _open_segments()
    keys = []
    for serial in (1, 2, 3):
        segments.prepare(size)
        keys.append(segments.begin(layout(), ()).key)
        assert len(set(keys)) == min(serial, 2) == _open_segments() - others
    assert keys[2] == keys[0]


def test_memory_that_cannot_be_prepared_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    segments = Segments()
    with monkeypatch.context() as patch:
        patch.setattr("common.weights.segments.free_bytes", lambda: 0)
        segments.prepare(segment_bytes(layout()))
        with pytest.raises(NoRoomError, match="are needed"):
            segments.begin(layout(), ())
    segments.begin(layout(), ())


def test_who_waits_for_a_word_of_shared_memory_is_woken_by_its_change() -> None:
    word = torch.zeros(1, dtype=torch.int64)
    waiting = threading.Thread(target=futex.wait, args=(word.data_ptr(), 0, 100 * LONG), daemon=True)
    waiting.start()
    word[0] = 1
    futex.wake(word.data_ptr())
    waiting.join(LONG)
    assert not waiting.is_alive()
    futex.wait(word.data_ptr(), 0, 100 * LONG)


def _open_segments() -> int:
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            if "couplet-weights" in os.readlink(link):
                found.add(link.stat().st_ino)
    return len(found)
