"""Ray's own messages, which it prints to the terminal of the driver whatever it is told of logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ray._private import worker as ray_worker


def redirect_ray_messages(keep: Callable[[str], None]) -> None:
    """Hand what Ray would print in colour on standard output to ``keep``. Call it before ``ray.init``.

    Ray has no setting for this: ``log_to_driver`` is about the actors' output, and this is about their deaths,
    which the run tells in words of its own.
    """

    def take(data: Mapping[str, Any], ignore_prefix: bool) -> None:
        keep("\n".join([f"Ray ({data.get('pid')}):", *map(str, data.get("lines", ()))]))

    ray_worker.print_to_stdstream = take
