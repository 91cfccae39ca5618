"""All tensors that an engine holds, whatever keeps them: the model, its gradients, the optimizer, DeepSpeed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

#: Packages whose objects may hold tensors in their attributes.
_FOLLOWED = frozenset(("torch", "deepspeed", "learner", "common"))


def held_tensors(root: object) -> Iterator[Tensor]:
    """Yield every tensor that is reached from an object through attributes and containers, each once.

    DeepSpeed keeps what it holds in other attributes at every stage, and has no list of them.
    """
    seen: dict[int, object] = {}  # with the objects, as an id is only theirs while they live
    left = [root]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        if isinstance(one, Tensor):
            yield one
            if one.is_leaf and one.grad is not None:
                left.append(one.grad)
        left += _parts(one)


def _parts(one: Any) -> list[object]:
    if isinstance(one, dict):
        return [*one.keys(), *one.values()]
    if isinstance(one, list | tuple | set | frozenset | deque):
        return list(one)
    package = type(one).__module__.partition(".")[0]
    if package in _FOLLOWED or isinstance(one, nn.Module | Optimizer):
        return [getattr(one, "__dict__", None)]
    return []
