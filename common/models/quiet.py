"""Keep transformers from writing over a display of ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hold back the progress bars of transformers, and warnings: its own and those of what it imports.

    It imports DeepSpeed, which warns where there is no GPU. Both are as before when the context ends. Not for
    several threads at a time: the switches are the process' own.
    """
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    from transformers.utils import logging as settings

    had_bars = settings.is_progress_bar_enabled()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        if had_bars:
            settings.enable_progress_bar()
        logging.disable(before)
