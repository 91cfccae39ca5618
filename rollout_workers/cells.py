"""The device's side of the rows being denoised, and what is copied from there without waiting for it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass
class Cells:
    """What is known of the L positions of n rows, all [n, L] but for the last two, which are [n].

    ``planned`` is the step of each position under random order, ``made`` counts a row's steps, and ``done`` marks
    the rows whose text is complete: a step that is made before the host knows changes nothing of them.
    """

    tokens: Tensor
    step_map: Tensor
    logprobs: Tensor
    model_logprobs: Tensor
    uniforms: Tensor
    planned: Tensor
    made: Tensor
    done: Tensor

    def select(self, rows: Tensor) -> Self:
        """Take rows by their numbers, in that order."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    def join(self, other: Self) -> Self:
        """Append the rows of another."""
        both = [(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)]
        return type(self)(*(torch.cat(pair) for pair in both))

    def write(self, places: Tensor, **values: Tensor) -> None:
        """Write values [m] of the fields named to the m flat ``places``, but to no row that is done."""
        frozen = self.done[places // self.tokens.shape[1]]
        for name, value in values.items():
            flat = getattr(self, name).view(-1)
            flat[places] = torch.where(frozen, flat[places], value)


class HostCopy:
    """A copy of a tensor on the host, begun now; the device goes on meanwhile."""

    def __init__(self, tensor: Tensor) -> None:
        if tensor.is_cuda:
            self._copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._copy.copy_(tensor, non_blocking=True)
            self._copied: torch.Event | None = torch.Event(tensor.device)
            self._copied.record()
        else:
            self._copy, self._copied = tensor, None

    def read(self) -> npt.NDArray[np.int64]:
        """Wait until the tensor was computed and copied, and return it."""
        if self._copied is not None:
            self._copied.synchronize()
        found: npt.NDArray[np.int64] = self._copy.numpy()
        return found


def to_device(array: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """Copy an array to the device; a GPU goes on meanwhile."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
