"""Weights on their way from the learner to the rollout workers: few large buckets, a version and a checksum."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Bucket = npt.NDArray[np.float32]


class WeightsError(RuntimeError):
    """Buckets that do not hold what their manifest says."""


@dataclass(frozen=True)
class Manifest:
    """What lies in a sequence of buckets.

    ``entries[b]`` lists (parameter name, shape) in the order they lie in bucket b; ``checksums[b]`` is its
    CRC-32.
    """

    version: int
    entries: tuple[tuple[tuple[str, tuple[int, ...]], ...], ...]
    checksums: tuple[int, ...]


@dataclass(frozen=True)
class WeightsUpdate:
    """A manifest and the object-store references of its buckets."""

    manifest: Manifest
    buckets: tuple[Any, ...]


def to_buckets(
    parameters: Iterable[tuple[str, Tensor]], version: int, bucket_bytes: int
) -> tuple[Manifest, list[Bucket]]:
    """Flatten full fp32 parameters into buckets of about ``bucket_bytes`` (a larger parameter gets its own)."""
    buckets: list[Bucket] = []
    entries: list[tuple[tuple[str, tuple[int, ...]], ...]] = []
    pending: list[tuple[str, Tensor]] = []

    def flush() -> None:
        if pending:
            flat = torch.cat([t.detach().reshape(-1).to("cpu", torch.float32) for _, t in pending])
            buckets.append(flat.numpy())
            entries.append(tuple((name, tuple(t.shape)) for name, t in pending))
            pending.clear()

    size = 0
    for name, tensor in parameters:
        if pending and size + 4 * tensor.numel() > bucket_bytes:
            flush()
            size = 0
        pending.append((name, tensor))
        size += 4 * tensor.numel()
    flush()
    checksums = tuple(zlib.crc32(bucket.data) for bucket in buckets)
    return Manifest(version, tuple(entries), checksums), buckets


def from_buckets(manifest: Manifest, buckets: Iterable[Bucket]) -> Iterator[tuple[str, Tensor]]:
    """Parameters in the order they were flattened. Raises :class:`WeightsError` on a checksum that is off."""
    for number, (entries, bucket, checksum) in enumerate(
        zip(manifest.entries, buckets, manifest.checksums, strict=True)
    ):
        if zlib.crc32(bucket.data) != checksum:
            raise WeightsError(f"weights of version {manifest.version}: bucket {number} is damaged")
        offset = 0
        for name, shape in entries:
            count = int(np.prod(shape))
            # The object store's memory is read-only; torch wants its own copy.
            yield name, torch.from_numpy(bucket[offset : offset + count].copy()).view(shape)
            offset += count
