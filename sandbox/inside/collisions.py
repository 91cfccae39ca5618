"""Values made to have one hash: a set or dictionary of n of them takes n² steps to build, all in one call of C."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

# So many cost next to nothing, and a set may hold them by right: one in 61 powers of two has the same hash.
_MOST_ALIKE = 256


def collide(values: Sequence[object]) -> bool:
    """Tell whether more values share a hash than by chance. Raises TypeError for one that has no hash.

    Whole numbers that differ by a multiple of 2**61 - 1 have one hash, and so have tuples of them.
    """
    if len(values) <= _MOST_ALIKE:
        return False
    # As keys, hashes are whole numbers that differ below 2**61 - 1, which do not collide themselves.
    return max(Counter(map(hash, values)).values()) > _MOST_ALIKE
