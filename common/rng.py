"""Counter-based randomness: every random number is a function of (run seed, purpose, indices).

No generator is shared or re-seeded, so a sample's noise is the same on whatever worker, batch or device it is
drawn, and a replay draws it again.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np


def stream(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """Return the random stream of one purpose, for example ``stream(seed, "noise", group, sample)``.

    Streams of different arguments are independent (Philox4x64-10, keyed by a hash of all of them).
    """
    label = repr((seed, purpose, indices)).encode()
    key = np.frombuffer(blake2b(label, digest_size=16).digest(), dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
