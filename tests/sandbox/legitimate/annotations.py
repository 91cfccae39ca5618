# /// program
# prints = "P(x=3)"
# ///
from __future__ import annotations

from dataclasses import dataclass


@dataclass
class P:
    x: int


print(P(3))
