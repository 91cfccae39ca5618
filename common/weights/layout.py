"""How weights lie in the buckets in which they travel: names, types and places, and nothing that needs torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby

#: Bytes of one value, by the name of each type in which parameters travel.
ITEM_BYTES = {"float32": 4, "bfloat16": 2}
SEAL_BYTES = 8
#: Bytes; fits every type that a parameter or the seal is viewed as.
_ALIGNMENT = 8
#: Bytes; torch aligns its own memory so, and the last bit of a product may depend on it.
_IN_PLACE_ALIGNMENT = 64
PAGE_BYTES = 4096
#: Name, shape and type.
_Parameter = tuple[str, tuple[int, ...], str]


class WeightsError(RuntimeError):
    """Buckets or parameters do not match their manifest."""


@dataclass(frozen=True)
class Entry:
    """A parameter in a bucket, ``offset`` bytes from its start; ``dtype`` is one of :data:`ITEM_BYTES`."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int

    @property
    def end(self) -> int:
        return self.offset + math.prod(self.shape) * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Layout:
    """Where every parameter lies: ``buckets[b]`` lists what is in bucket b, in the order of the model."""

    buckets: tuple[tuple[Entry, ...], ...]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of each bucket, its seal included."""
        return tuple(aligned(entries[-1].end) + SEAL_BYTES for entries in self.buckets)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Where each bucket begins, in bytes, if they lie one after another, each from a page on."""
        pages = (-(-size // PAGE_BYTES) * PAGE_BYTES for size in self.sizes[:-1])
        return tuple(accumulate(pages, initial=0))

    def in_place(self, bucket_bytes: int) -> Layout:
        """Lay the same parameters out in buckets of about this size for whoever computes with them where they lie.

        Those of a block (attention, feed-forward) are in one bucket, matrices before vectors: matrices of products
        that are made together lie side by side.
        """
        every = ((e.name, e.shape, e.dtype) for bucket in self.buckets for e in bucket)
        blocks = (sorted(block, key=lambda one: len(one[1]) < 2) for _, block in groupby(every, _block))
        return _laid_out(blocks, bucket_bytes, _IN_PLACE_ALIGNMENT)


@dataclass(frozen=True)
class Manifest:
    """The contents of a sequence of buckets: the version of the weights and their layout.

    ``on_device``: their seals are of the kind that a GPU computes (:mod:`common.weights.checksum`).
    """

    version: int
    layout: Layout
    on_device: bool = False

    def encode(self) -> bytes:
        buckets = [[[e.name, e.shape, e.dtype, e.offset] for e in b] for b in self.layout.buckets]
        values = {"version": self.version, "on_device": self.on_device, "buckets": buckets}
        return json.dumps(values, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, text: bytes) -> Manifest:
        """Parse what :meth:`encode` writes. Raises :class:`WeightsError` for anything else."""
        try:
            values = json.loads(text)
            buckets = tuple(
                tuple(Entry(name, tuple(shape), dtype, offset) for name, shape, dtype, offset in bucket)
                for bucket in values["buckets"]
            )
            if unknown := {entry.dtype for bucket in buckets for entry in bucket} - ITEM_BYTES.keys():
                raise ValueError(f"unknown types {unknown}")
            return cls(values["version"], Layout(buckets), values["on_device"])
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"not a manifest of weights: {text[:80]!r}") from error


def lay_out(parameters: Iterable[_Parameter], bucket_bytes: int) -> Layout:
    """Lay out names, shapes and types in buckets of about ``bucket_bytes``; a larger parameter gets its own."""
    return _laid_out(([one] for one in parameters), bucket_bytes, _ALIGNMENT)


def aligned(offset: int, alignment: int = _ALIGNMENT) -> int:
    """Return the next offset, in bytes, at which a parameter or the seal may begin."""
    return -(-offset // alignment) * alignment


def _laid_out(groups: Iterable[Sequence[_Parameter]], bucket_bytes: int, alignment: int) -> Layout:
    """Lay out groups of parameters, each within one bucket."""
    buckets: list[list[Entry]] = []
    for group in groups:
        offset = aligned(buckets[-1][-1].end, alignment) if buckets else 0
        entries = list(_placed(group, offset, alignment))
        if not buckets or entries[-1].end > bucket_bytes:
            buckets.append([])
            entries = list(_placed(group, 0, alignment))
        buckets[-1] += entries
    return Layout(tuple(map(tuple, buckets)))


def _placed(group: Sequence[_Parameter], offset: int, alignment: int) -> Iterator[Entry]:
    for parameter in group:
        entry = Entry(*parameter, offset)
        yield entry
        offset = aligned(entry.end, alignment)


def _block(parameter: _Parameter) -> str:
    """Name the block of a parameter: ``layers.0.mlp`` of ``layers.0.mlp.up_proj.weight``; else the parameter."""
    return parameter[0].rpartition(".")[0].rpartition(".")[0] or parameter[0]
