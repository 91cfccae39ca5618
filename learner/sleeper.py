"""A rank's sleep: what its engine holds leaves the GPU for the machine's memory, and comes back."""

from __future__ import annotations

import threading
import time

import torch

from common.models.storages import MovedStorages
from common.turns import Turn
from learner.held_tensors import held_tensors


class Sleeper:
    """Moves what ``engine`` holds between turns: parameters, gradients, the optimizer's state and the reference.

    On a CPU nothing has to move, and the turns alone are kept.
    """

    def __init__(self, engine: object) -> None:
        self._engine = engine
        self._began = time.time()
        self._moved: MovedStorages | None = None
        self._awake = threading.Event()
        self._awake.set()

    def sleep(self) -> Turn:
        """End the turn: move everything off the GPU, and give its memory back."""
        self.require_awake("a second sleep")
        self._awake.clear()
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # what runs on other streams may still write
        self._moved = MovedStorages.move(tensor for tensor in held_tensors(self._engine) if tensor.is_cuda)
        if self._moved.bytes:
            torch.cuda.empty_cache()
        return Turn(self._began, time.time(), self._moved.bytes)

    def wake(self) -> None:
        """Begin a turn: move everything back; does nothing for an engine that is awake."""
        if self._moved is not None:
            self._began = time.time()
            self._moved.move_back()
            self._moved = None
        self._awake.set()

    def await_wake(self, seconds: float) -> bool:
        """Wait for :meth:`wake` by another thread, at most so many seconds; tell whether it came."""
        return self._awake.wait(seconds)

    def require_awake(self, what: str) -> None:
        """Raise RuntimeError for a use of the engine while it is asleep."""
        if not self._awake.is_set():
            raise RuntimeError(f"{what} while the learner is asleep")
