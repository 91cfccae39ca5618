"""What tests of weights in shared memory send, and processes that read or send beside them."""

from __future__ import annotations

import multiprocessing as mp
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from common.weights.buckets import fill_buckets, plan_layout
from common.weights.layout import Layout, Manifest
from common.weights.messages import SharedBuckets
from common.weights.segments import Segment, Segments
from common.weights.shared_reader import OpenUpdate
from tests.forkserver import forkserver

LONG = 30.0
NAMES = ("a", "b", "c")


def weights(version: int) -> dict[str, Tensor]:
    return {name: torch.full((500,), float(version)) for name in NAMES}


def layout() -> Layout:
    return plan_layout(weights(0).items(), dict.fromkeys(NAMES, torch.float32), 1)


class Sender:
    """Publishes versions, wholly or in part."""

    def __init__(self) -> None:
        self._segments = Segments()

    def begin(self, version: int, *keep: int) -> tuple[Segment, Manifest, SharedBuckets]:
        segment = self._segments.begin(layout(), keep)
        where = SharedBuckets("node", os.getpid(), segment.descriptor, segment.key, segment.serial)
        return segment, Manifest(version, layout()), where

    def fill(self, segment: Segment, manifest: Manifest, upto: int = len(NAMES)) -> None:
        memory = segment.bucket
        filled = fill_buckets(manifest, weights(manifest.version).items(), lambda n: memory(manifest.layout, n))
        for number, _ in zip(range(upto), filled, strict=False):
            segment.ready(number + 1)

    def publish(self, version: int, *keep: int) -> tuple[Manifest, SharedBuckets]:
        segment, manifest, where = self.begin(version, *keep)
        self.fill(segment, manifest)
        return manifest, where


def values(opened: OpenUpdate) -> list[float]:
    return [float(bucket[:4].view(torch.float32)) for bucket in opened.buckets()]


Child = Callable[..., tuple[mp.process.BaseProcess, Connection]]


@contextmanager
def children() -> Iterator[Child]:
    """Yield what starts a process, given a function of a pipe and what to send there, and waits for its answer.

    All of them are killed at the end.
    """
    started: list[Any] = []

    def start(target: Callable[[Connection], None], *sent: object) -> tuple[Any, Connection]:
        context = forkserver()
        ours, theirs = context.Pipe()
        started.append(context.Process(target=target, args=(theirs,), daemon=True))
        started[-1].start()
        for message in sent:
            ours.send(message)
        assert ours.poll(LONG)
        return started[-1], ours

    yield start
    for process in started:
        process.kill()
        process.join(LONG)
