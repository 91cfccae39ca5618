"""Weights as they travel from the learner to the rollout workers: few large buckets of bytes, each sealed.

A bucket holds parameters one after another, each in its own type, and ends with a checksum of what is before it,
keyed by version and place: a bucket of another version, or in another one's place, is as wrong as a damaged one.
The checksum is XXH3, the fastest on a CPU; buckets that stay on GPUs have one that a GPU computes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
import xxhash
from torch import Tensor

from common.weights.checksum import checksum
from common.weights.copies import as_bytes, copy, copy_digested
from common.weights.layout import SEAL_BYTES, Entry, Layout, Manifest, WeightsError, aligned, lay_out

#: A bucket as the object store holds it: bytes [size].
Bucket = npt.NDArray[np.uint8]

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}


def plan_layout(
    parameters: Iterable[tuple[str, Tensor]], types: Mapping[str, torch.dtype], bucket_bytes: int
) -> Layout:
    """Lay parameters out in buckets of about ``bucket_bytes``; a larger parameter gets its own.

    ``types`` says, by name, in which type a parameter travels; of the tensors only the shapes matter.
    """
    return lay_out(((name, tuple(tensor.shape), _NAMES[types[name]]) for name, tensor in parameters), bucket_bytes)


def fill_buckets(
    manifest: Manifest,
    parameters: Iterable[tuple[str, Tensor]],
    memory_of: Callable[[int], Tensor] | None = None,
) -> Iterator[Tensor]:
    """Yield sealed buckets, each a tensor of bytes [size].

    Values are rounded once to the type of their entry. ``parameters`` are taken one after another and may reuse
    their memory; they must be those of the layout, matrices in its order, or :class:`WeightsError` is raised.
    ``memory_of`` gives the memory of a bucket, by its number; without it they share memory of the CPU, where each
    is valid until the next is asked for.
    """
    layout, source = manifest.layout, _Arriving(parameters)
    memory_of = memory_of or _shared_by_all(layout)
    for number, entries in enumerate(layout.buckets):
        bucket = memory_of(number)
        digest = None if manifest.on_device else xxhash.xxh3_64(seed=_key(manifest, number))
        ends = [*(after.offset for after in entries[1:]), aligned(entries[-1].end)]
        for entry, end in zip(entries, ends, strict=True):
            name, tensor = source.take(entry.name)
            if name != entry.name or tensor.shape != entry.shape:
                raise WeightsError(
                    f"weights of version {manifest.version}: {entry.name} {list(entry.shape)} was to come, "
                    f"and {name} {list(tensor.shape)} came"
                )
            if digest is None:
                copy(_view(bucket, entry), tensor)
            else:
                copy_digested(_view(bucket, entry), tensor, digest)
                digest.update(as_bytes(bucket[entry.end : end]))
        _seal(bucket).copy_(_checksum(manifest, number, bucket) if digest is None else _word(digest.intdigest()))
        yield bucket
    if extra := source.left():
        raise WeightsError(f"weights of version {manifest.version}: {extra} has no place in the layout")


def check_bucket(manifest: Manifest, number: int, bucket: Tensor) -> None:
    """Check on its device that this is bucket ``number`` as it was sealed. Raises :class:`WeightsError` if not.

    Buckets that are not ``on_device`` are checked on the CPU only.
    """
    if bucket.numel() != manifest.layout.sizes[number] or not torch.equal(
        _seal(bucket), _checksum(manifest, number, bucket)
    ):
        raise WeightsError(f"weights of version {manifest.version}: bucket {number} is damaged")


def read_buckets(manifest: Manifest, buckets: Iterable[Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters in order, as views of their buckets: valid until the next bucket, not to be written to.

    Raises ValueError unless there are as many buckets as the manifest has; checks nothing else.
    """
    for entries, bucket in zip(manifest.layout.buckets, buckets, strict=True):
        for entry in entries:
            yield entry.name, _view(bucket, entry)


def overwrite(own: Iterable[tuple[str, Tensor]], weights: Iterable[tuple[str, Tensor]]) -> None:
    """Copy every weight into the parameter of its name, rounding to its type.

    Raises :class:`WeightsError` for weights of another model, when some may be overwritten already.
    """
    for parameter, tensor in _matched(own, weights):
        copy(parameter, tensor)


class Parameters:
    """Parameters of a process by name, in memory of their own or in that where somebody else has put weights."""

    def __init__(self, own: Mapping[str, Tensor]) -> None:
        self._own = own
        self.borrowed = False

    def borrow(self, layout: Layout, weights: Iterable[tuple[str, Tensor]]) -> bool:
        """Become views of weights that lie so, which nobody writes to from now on, and give the own memory back.

        Return False, with no weight taken, where one is to be held on another device or in another type. Raises
        :class:`WeightsError` for weights of another model; then, as after whatever ``weights`` raise, nothing has
        changed.
        """
        types = {entry.name: _TYPES[entry.dtype] for bucket in layout.buckets for entry in bucket}
        if any(one.device.type != "cpu" or one.dtype != types.get(name) for name, one in self._own.items()):
            return False
        for parameter, tensor in list(_matched(self._own.items(), weights)):
            parameter.data = tensor
        self.borrowed = True
        return True

    def take_memory(self) -> None:
        """Be in memory of their own from now on, whose contents are not defined where they were not before."""
        if self.borrowed:
            for parameter in self._own.values():
                parameter.data = torch.empty_like(parameter)
            self.borrowed = False


def stored_buckets(manifest: Manifest, buckets: Iterable[Bucket]) -> list[Tensor]:
    """Check buckets of the object store, and view them as tensors that share their memory.

    Raises :class:`WeightsError` for a damaged bucket and ValueError for missing ones.
    """
    checked = []
    for number, (_, bucket) in enumerate(zip(manifest.layout.buckets, buckets, strict=True)):
        with warnings.catch_warnings():
            # The object store's memory is read-only, and torch has no read-only tensors; nobody writes to these.
            warnings.simplefilter("ignore", UserWarning)
            checked.append(torch.from_numpy(bucket))
        check_bucket(manifest, number, checked[-1])
    return checked


class _Arriving:
    """Parameters as they come, taken in the order of a layout, in which vectors may lie behind later matrices."""

    def __init__(self, parameters: Iterable[tuple[str, Tensor]]) -> None:
        self._source = iter(parameters)
        self._early: dict[str, Tensor] = {}

    def take(self, name: str) -> tuple[str, Tensor]:
        """Return what comes as the parameter of this name, which is another where the order is wrong."""
        if name in self._early:
            return name, self._early.pop(name)
        for came, tensor in self._source:
            if came == name or tensor.ndim > 1:
                return came, tensor
            self._early[came] = tensor.detach().clone()
        return "nothing", torch.empty(0)

    def left(self) -> str | None:
        """Return the name of a parameter that nobody has taken, if there is one."""
        return next(iter(self._early), None) or next((name for name, _ in self._source), None)


def _matched(
    own: Iterable[tuple[str, Tensor]], weights: Iterable[tuple[str, Tensor]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each parameter with its weight. Raises :class:`WeightsError` for weights of another model."""
    missing = dict(own)
    for name, tensor in weights:
        parameter = missing.pop(name, None)
        if parameter is None or parameter.shape != tensor.shape:
            raise WeightsError(f"weights do not fit the model: no place for {name} {list(tensor.shape)}")
        yield parameter, tensor
    if missing:
        raise WeightsError(f"weights do not fit the model: without {', '.join(sorted(missing)[:5])}")


def _view(bucket: Tensor, entry: Entry) -> Tensor:
    return bucket[entry.offset : entry.end].view(_TYPES[entry.dtype]).view(entry.shape)


def _shared_by_all(layout: Layout) -> Callable[[int], Tensor]:
    # Zeros, so that the gaps between parameters do not carry away whatever the memory held.
    memory = torch.zeros(max(layout.sizes), dtype=torch.uint8)
    return lambda number: memory[: layout.sizes[number]]


def _seal(bucket: Tensor) -> Tensor:
    return bucket[-SEAL_BYTES:].view(torch.int64)[0]


def _checksum(manifest: Manifest, number: int, bucket: Tensor) -> Tensor:
    content, key = bucket[:-SEAL_BYTES], _key(manifest, number)
    return (
        checksum(content, key) if manifest.on_device else _word(xxhash.xxh3_64_intdigest(as_bytes(content), key))
    )


def _key(manifest: Manifest, number: int) -> int:
    return (manifest.version << 20) + number


def _word(digest: int) -> Tensor:
    return torch.tensor(np.uint64(digest).view(np.int64))
