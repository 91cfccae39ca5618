"""How a sender learns that its GPU's buckets are on the host. The copies themselves need a GPU: not tested."""

from __future__ import annotations

import time

import pytest

from common.weights.device_buckets import follow


class Copy:
    """A copy that is done when it has been asked about so often."""

    def __init__(self, queries: float, fails: bool = False) -> None:
        self._left = queries
        self._fails = fails

    def query(self) -> bool:
        if self._fails:
            raise RuntimeError("the device is lost")
        self._left -= 1
        return self._left < 0


class Told:
    def __init__(self) -> None:
        self.ready: list[int] = []
        self.given_up = 0

    def give_up(self) -> None:
        self.given_up += 1


def test_buckets_are_told_in_their_order_as_they_come() -> None:
    told = Told()
    follow([Copy(0), Copy(3), Copy(1)], told.ready.append, told.give_up, time.monotonic() + 30.0)
    assert (told.ready, told.given_up) == ([1, 2, 3], 0)


def test_a_copy_that_never_ends_is_given_up_at_the_deadline() -> None:
    told = Told()
    follow([Copy(0), Copy(float("inf")), Copy(0)], told.ready.append, told.give_up, time.monotonic() + 0.01)
    assert (told.ready, told.given_up) == ([1], 1)


def test_a_copy_that_fails_is_given_up() -> None:
    told = Told()
    with pytest.raises(RuntimeError, match="lost"):
        follow([Copy(0), Copy(0, fails=True)], told.ready.append, told.give_up, time.monotonic() + 30.0)
    assert (told.ready, told.given_up) == ([1], 1)
