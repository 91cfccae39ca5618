"""However loading fails, a worker serves whole weights of one version or none."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from common.heartbeat import Heartbeat
from common.weights import broadcast as broadcasting
from common.weights import loader as loading
from common.weights.broadcast import Sender
from common.weights.buckets import fill_buckets, overwrite, plan_layout
from common.weights.comparison import HeldTensors
from common.weights.fence import VersionFence
from common.weights.layout import Manifest, WeightsError
from common.weights.loader import LocalWeights, WeightsLoader
from common.weights.location import Location
from common.weights.messages import CalledOffError, Plan, WeightsUpdate

HERE = Location("node", "127.0.0.1", "")
NAMES = ("a", "b", "c")
LONG = 30.0


class Weights(HeldTensors):
    """The worker's; without one of them, loading fails there. One may keep a value that it was not sent."""

    def __init__(self) -> None:
        self.values = {name: torch.zeros(4) for name in NAMES}
        super().__init__(self.values)
        self.fail_at = self.keep = ""

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        kept = {name: tensor.clone() for name, tensor in self.values.items() if name == self.keep}
        overwrite(((name, t) for name, t in self.values.items() if name != self.fail_at), weights)
        for name, tensor in kept.items():
            self.values[name].copy_(tensor)

    def are(self, value: float) -> bool:
        return all(bool((tensor == value).all()) for tensor in self.values.values())


@pytest.fixture
def weights() -> Weights:
    return Weights()


@pytest.fixture
def fence() -> VersionFence:
    return VersionFence()


@pytest.fixture
def loader(weights: Weights, fence: VersionFence, monkeypatch: pytest.MonkeyPatch) -> WeightsLoader:
    """A loader whose object store keeps the arrays themselves as references."""
    monkeypatch.setattr(loading.ray, "get", lambda references, timeout: references)
    monkeypatch.setattr(loading.Location, "here", lambda: HERE)
    return WeightsLoader(LocalWeights(weights), fence, LONG, LONG, Heartbeat(LONG))


def published(version: int) -> tuple[Manifest, dict[str, Tensor]]:
    sent = {name: torch.full((4,), float(version)) for name in NAMES}
    return Manifest(version, plan_layout(sent.items(), dict.fromkeys(sent, torch.float32), 16)), sent


def stored(version: int) -> WeightsUpdate:
    manifest, sent = published(version)
    return WeightsUpdate(manifest, tuple(b.numpy().copy() for b in fill_buckets(manifest, sent.items())))


class Broadcast:
    """Sends versions to the loader, and keeps what the sender says of the last."""

    def __init__(self, loader: WeightsLoader) -> None:
        self._loader = loader
        self._sender = Sender(HERE, LONG)
        self._groups = 0

    @property
    def failure(self) -> str | None:
        return self._sender.failure

    def __call__(self, version: int, spoiled: int | None = None) -> None:
        """Bucket ``spoiled`` changes on its way."""
        manifest, sent = published(version)
        self._groups += 1
        plan = Plan(f"group-{self._groups}", self._sender.address, ("rollout-0",), "gloo")

        def buckets() -> Iterator[Tensor]:
            for number, bucket in enumerate(fill_buckets(manifest, sent.items())):
                if number == spoiled:
                    bucket[1] ^= 1
                yield bucket

        def send() -> None:
            for _ in self._sender.send(plan, manifest, buckets(), LONG):
                pass

        thread = threading.Thread(target=send)
        thread.start()
        try:
            self._loader.by_broadcast(plan, 1)
        finally:
            thread.join(LONG)


@pytest.fixture
def broadcast(loader: WeightsLoader) -> Broadcast:
    return Broadcast(loader)


def test_both_ways_load_whole_weights(
    loader: WeightsLoader, weights: Weights, fence: VersionFence, broadcast: Broadcast
) -> None:
    assert loader.from_store(stored(3)) == 3
    assert weights.are(3)
    assert fence.version == 3
    broadcast(4)
    assert broadcast.failure is None
    assert weights.are(4)
    assert fence.version == 4


def test_a_damaged_bucket_in_the_store_changes_nothing(
    loader: WeightsLoader, weights: Weights, fence: VersionFence
) -> None:
    loader.from_store(stored(3))
    update = stored(4)
    update.buckets[-1][2] ^= 1
    with pytest.raises(WeightsError, match="version 4: bucket 2 is damaged"):
        loader.from_store(update)
    assert weights.are(3)
    assert fence.version == 3


def test_a_load_that_fails_in_the_middle_leaves_no_version(
    loader: WeightsLoader, weights: Weights, fence: VersionFence, broadcast: Broadcast
) -> None:
    loader.from_store(stored(3))
    weights.fail_at = "b"
    with pytest.raises(WeightsError, match="no place for b"):
        loader.from_store(stored(4))
    assert fence.version == -1

    weights.fail_at = ""
    loader.from_store(stored(5))
    weights.fail_at = "b"
    with pytest.raises(WeightsError, match="no place for b"):
        broadcast(6)
    assert broadcast.failure == "rollout-0 gave up"
    assert fence.version == -1

    weights.fail_at = ""
    broadcast(6)
    assert broadcast.failure is None
    assert weights.are(6)
    assert fence.version == 6


def test_a_damaged_bucket_of_a_broadcast_leaves_no_version_and_is_not_loaded(
    loader: WeightsLoader, weights: Weights, fence: VersionFence, broadcast: Broadcast
) -> None:
    loader.from_store(stored(3))
    with pytest.raises(WeightsError, match="version 4: bucket 1 is damaged"):
        broadcast(4, spoiled=1)
    assert broadcast.failure == "rollout-0 gave up"
    assert [tensor[0].item() for tensor in weights.values.values()] == [4.0, 3.0, 3.0]
    assert fence.version == -1


def test_a_broadcast_that_is_called_off_before_a_worker_lets_go_of_its_weights_leaves_them(
    loader: WeightsLoader,
    weights: Weights,
    fence: VersionFence,
    broadcast: Broadcast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The learner does not wait for a long batch, and the worker goes on with what it has."""
    monkeypatch.setattr(broadcasting, "READY_SECONDS", 0.1)
    loader.from_store(stored(3))
    with ThreadPoolExecutor(1) as thread:
        with fence.reading(3, LONG):
            received = thread.submit(broadcast, 4)
            while broadcast.failure is None and not received.done():
                time.sleep(0.01)
            assert broadcast.failure is not None
            assert "not ready: rollout-0" in broadcast.failure
        with pytest.raises(CalledOffError):
            received.result(LONG)
    assert weights.are(3)
    assert fence.version == 3
    broadcast(5)
    assert fence.version == 5


def test_verifying_loads_an_update_over_corrupted_weights_and_compares_all(
    loader: WeightsLoader, weights: Weights, fence: VersionFence, broadcast: Broadcast
) -> None:
    found = loader.verify(stored(3), reload=True)
    assert (found.version, found.reloaded, found.tensors, found.bytes, found.differing) == (3, True, 3, 48, ())
    assert weights.are(3)
    assert fence.version == 3
    broadcast(4)
    assert loader.verify(stored(4), reload=False).differing == ()
    assert loader.verify(stored(5), reload=False).differing == NAMES, "which it was not sent"
    weights.keep = "b"
    assert loader.verify(stored(4), reload=True).differing == ("b",)
    assert bool(weights.values["b"].isnan().all()), "what it holds by chance does not count"


def test_weights_that_were_corrupted_and_could_not_be_loaded_are_no_version(
    loader: WeightsLoader, weights: Weights, fence: VersionFence
) -> None:
    loader.from_store(stored(3))
    weights.fail_at = "c"
    with pytest.raises(WeightsError, match="no place for c"):
        loader.verify(stored(3), reload=True)
    assert fence.version == -1
