"""Whether held weights are bit for bit those that were published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from common.weights.buckets import Parameters, overwrite
from common.weights.layout import Layout


class HeldTensors:
    """Weights in a mapping of names to tensors."""

    def __init__(self, own: Mapping[str, Tensor]) -> None:
        self._own = own
        self._parameters = Parameters(own)

    def adopt(self, layout: Layout, weights: Iterable[tuple[str, Tensor]]) -> bool:
        """Hold all weights where they lie, as :meth:`Parameters.borrow` does."""
        return self._parameters.borrow(layout, weights)

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Overwrite all weights in place. Raises WeightsError for those of another model."""
        self._parameters.take_memory()
        overwrite(self._own.items(), weights)

    def corrupt(self) -> None:
        """Overwrite every element with NaN."""
        self._parameters.take_memory()
        corrupt(self._own.values())

    def differing(self, weights: Iterable[tuple[str, Tensor]]) -> list[str]:
        """Name the tensors that are not held bit for bit."""
        return differing(self._own.items(), weights)


@torch.no_grad()
def corrupt(own: Iterable[Tensor]) -> None:
    """Overwrite every element with NaN, which no published weight is."""
    for parameter in own:
        parameter.fill_(torch.nan)


@torch.no_grad()
def differing(own: Iterable[tuple[str, Tensor]], weights: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Name what is not the same bits in ``own`` as in ``weights``, or is in one of them only.

    Values are compared in the type that holds them; each of ``weights`` is valid until the next.
    """
    unseen, names = dict(own), []
    for name, tensor in weights:
        parameter = unseen.pop(name, None)
        if parameter is None or not _same_bits(parameter, tensor.to(parameter.device, parameter.dtype)):
            names.append(name)
    return names + list(unseen)


def _same_bits(a: Tensor, b: Tensor) -> bool:
    # As numbers, NaN differs from itself, and the two zeros do not differ.
    return a.shape == b.shape and torch.equal(_bytes(a), _bytes(b))


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)
