"""Why a call of an actor failed: one line for people, and Ray's whole text in a file of the run's folder."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray.exceptions import ActorDiedError, NodeDiedError, OutOfMemoryError, RayTaskError

from common.errors import RunFailedError, UserError

FILE = "failures.log"
_LONGEST = 600
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_CREATION = "raised in its creation task"
_DIED, _OUT_OF_MEMORY = "its process was killed or crashed", "Ray ended it, as the memory of its node ran out"
_QUALIFIED = re.compile(r"^(?:\w+\.)+(\w+(?:: |$))")
_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())
_log.propagate = False


@contextmanager
def failure_log(folder: Path) -> Iterator[None]:
    """Have the whole texts of failures written to ``failures.log`` in ``folder``, once there are any."""
    handler = logging.FileHandler(folder / FILE, delay=True, encoding="utf-8", errors="replace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s\n"))
    _log.addHandler(handler)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        handler.close()


def keep(text: str) -> None:
    """Write a text to the failure log, without the colours that Ray gives it."""
    _log.error("%s", _ANSI.sub("", text))


def why(error: BaseException) -> str:
    """Say on one line why a call failed, and keep what else there is to know."""
    text = _ANSI.sub("", str(error))
    line = _line(error, text)
    if text.strip() == line:
        return line
    keep(text)
    return f"{line}; more in {FILE}"


def _line(error: BaseException, text: str) -> str:
    cause = error.cause if isinstance(error, RayTaskError) else None
    if isinstance(cause, UserError | RunFailedError):
        return _first(str(cause))
    if isinstance(cause, Exception):
        return _first(f"{type(cause).__name__}: {str(cause).strip()}")
    if isinstance(error, NodeDiedError):
        return "its node is gone"
    if isinstance(error, OutOfMemoryError):
        return _OUT_OF_MEMORY
    if isinstance(error, ActorDiedError) and _CREATION not in text:
        return _OUT_OF_MEMORY if "OUT_OF_MEMORY" in text else _DIED
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _QUALIFIED.sub(r"\1", lines[-1])[:_LONGEST] if lines else type(error).__name__


def _first(text: str) -> str:
    return text.strip().partition("\n")[0].strip()[:_LONGEST]
