"""Processes for tests, forked off one that has imported what takes seconds to import, and has done nothing else.

A process of tests has one such server, so all that its tests fork has the same imports.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext


def forkserver() -> ForkServerContext:
    """What makes such processes, as ``multiprocessing.get_context`` returns it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.forked_imports"])
    return context
