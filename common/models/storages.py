"""The memory behind tensors: given back to the device, and taken again, while the tensors themselves stay.

Views of one another stay so, as it is their common storage that changes its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def distinct_storages(tensors: Iterable[Tensor]) -> list[torch.UntypedStorage]:
    """Return the storages of tensors that hold any memory, each once."""
    found = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        if storage.nbytes():
            found[(storage.device, storage.data_ptr())] = storage
    return list(found.values())


class FreedStorages:
    """Storages whose memory was given back, with what they held; made by :meth:`free`."""

    def __init__(self, storages: Sequence[torch.UntypedStorage]) -> None:
        self._sizes = [(storage, storage.nbytes()) for storage in storages]

    @classmethod
    def free(cls, tensors: Iterable[Tensor]) -> FreedStorages:
        """Give the memory of tensors back; what they held is lost."""
        freed = cls(distinct_storages(tensors))
        for storage, _ in freed._sizes:
            storage.resize_(0)
        return freed

    def take_again(self) -> None:
        """Take memory of the same sizes, whose contents are not defined."""
        for storage, size in self._sizes:
            storage.resize_(size)


class MovedStorages:
    """Storages whose contents, so many ``bytes``, lie in the memory of the machine; made by :meth:`move`."""

    def __init__(self, moved: Sequence[tuple[torch.UntypedStorage, Tensor]]) -> None:
        self._moved = moved
        self.bytes = sum(len(kept) for _, kept in moved)

    @classmethod
    def move(cls, tensors: Iterable[Tensor]) -> MovedStorages:
        """Move what tensors hold into the machine's memory, pinned where they are on a GPU, and free theirs."""
        moved = []
        for storage in distinct_storages(tensors):
            kept = torch.empty(storage.nbytes(), dtype=torch.uint8, pin_memory=storage.device.type == "cuda")
            kept.copy_(_bytes(storage))  # which waits for the device
            storage.resize_(0)
            moved.append((storage, kept))
        return cls(moved)

    def move_back(self) -> None:
        """Move everything back to where it was."""
        for storage, kept in self._moved:
            storage.resize_(len(kept))
            _bytes(storage).copy_(kept)


def _bytes(storage: torch.UntypedStorage) -> Tensor:
    """View a storage as bytes."""
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
