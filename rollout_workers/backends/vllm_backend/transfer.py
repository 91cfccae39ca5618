"""Weights on their way into vLLM: through files in shared memory, inside vLLM's start, update and finish phases.

vLLM repacks weights after loading, so that they cannot be written where they lie; its layer-wise reload does that.
"""

from __future__ import annotations

import mmap
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.models.config import ModelConfig
from common.models.shapes import parameter_shapes
from common.weights.layout import WeightsError
from rollout_workers.backends.vllm_backend.names import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)

#: Bytes; fits every type of a parameter.
_ALIGNMENT = 8
#: Bytes of parameters handed over at a time; a larger parameter goes by itself.
SEGMENT_BYTES = 256 << 20

#: A parameter in a segment: name, type, shape, offset.
Entry = tuple[str, str, tuple[int, ...], int]


@dataclass(frozen=True)
class Segment:
    """Parameters in memory that a process shares by the ``path`` of an open file without a name."""

    path: str
    entries: tuple[Entry, ...]

    def read(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the parameters, not to be written to; the memory lives as long as one of them."""
        with open(self.path, "rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with warnings.catch_warnings():
            # torch has no read-only tensors; nobody writes to these.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.frombuffer(memory, dtype=torch.uint8)
        for name, dtype, shape, offset in self.entries:
            kind = getattr(torch, dtype)
            yield name, content[offset : offset + prod(shape) * kind.itemsize].view(kind).view(shape)


@dataclass
class Nothing(WeightTransferInitInfo):  # type: ignore[misc]
    """There is nothing to agree on beforehand."""


@dataclass
class Update(WeightTransferUpdateInfo):  # type: ignore[misc]
    """Parameters to load, which keep their values until the update is finished: layers wait for all of theirs."""

    weights: Iterable[tuple[str, Tensor]]


class CoupletWeightTransfer(WeightTransferEngine[Nothing, Update]):  # type: ignore[misc]
    """The receiving side, in each of vLLM's processes. A failed update can be followed by another."""

    init_info_cls = Nothing
    update_info_cls = Update

    def __init__(self, config: Any, vllm_config: Any, device: torch.device, model: torch.nn.Module) -> None:
        super().__init__(config, vllm_config, device, model)
        described = ModelConfig.from_folder(Path(vllm_config.model_config.model))
        self._shapes = parameter_shapes(described)
        self._tied = described.tie_word_embeddings
        self._missing: set[str] = set()

    def init_transfer_engine(self, init_info: Nothing) -> None:
        """Do nothing: there is no group to join."""

    def start_weight_update(self) -> None:
        """Make the model ready to take weights as a checkpoint has them."""
        self._missing = set(self._shapes)
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: Update) -> None:
        """Load parameters. Raises WeightsError for those of another model."""
        self.model.load_weights(self._checked(update_info.weights))

    def finish_weight_update(self) -> None:
        """Bring the weights into the form that the kernels read. Raises WeightsError where some have not come."""
        if self._missing:
            raise WeightsError(f"weights do not fit the model: without {', '.join(sorted(self._missing)[:5])}")
        finalize_layerwise_reload(self.model, self.model_config)
        if self._tied:
            self.model.pack_tied_head()

    def shutdown(self) -> None:
        """Do nothing: there is nothing to leave."""

    def _checked(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in weights:
            if name not in self._missing or self._shapes[name] != tuple(tensor.shape):
                raise WeightsError(f"weights do not fit the model: no place for {name} {list(tensor.shape)}")
            self._missing.remove(name)
            yield name, tensor


def segments(weights: Iterable[tuple[str, Tensor]], size: int = SEGMENT_BYTES) -> Iterator[Segment]:
    """Copy weights into segments of about ``size`` bytes.

    Weights and segments alike are valid until the next one is asked for. The memory has no name that could outlive
    a process that is killed.
    """
    source = iter(weights)
    waiting = next(source, None)
    while waiting is not None:
        entries: list[Entry] = []
        with os.fdopen(os.memfd_create("couplet-weights"), "wb") as memory:
            while waiting is not None and (not entries or memory.tell() + waiting[1].nbytes <= size):
                name, tensor = waiting
                memory.seek(-(-memory.tell() // _ALIGNMENT) * _ALIGNMENT)
                entries.append(
                    (name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), memory.tell())
                )
                memory.write(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
                waiting = next(source, None)
            memory.flush()
            yield Segment(f"/proc/{os.getpid()}/fd/{memory.fileno()}", tuple(entries))
