"""How an evaluation finds the program in an answer; stated in its settings, since scores depend on it."""

from __future__ import annotations

from typing import Literal

from common.config import Section


class Extraction(Section):
    """The rule by which the program to test is taken out of an answer."""

    rule: Literal["lenient", "reward"] = "lenient"
    """``reward``: as the reward of training, which reads a block only if its fence says Python. ``lenient``: a block
    of any fence, Python's before others, or without a fence the lines that make a program."""
    block: Literal["first", "last"] = "first"
    """Which of several blocks the lenient rule takes."""
    trimmed: bool = False
    """Cut what a model continues behind the last line up to which it is a program."""
