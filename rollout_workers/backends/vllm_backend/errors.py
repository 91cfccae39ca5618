"""What goes wrong with vLLM's processes."""

from __future__ import annotations

from common.errors import RunFailedError


class VllmError(RunFailedError):
    """vLLM's processes failed, disagreed, or did not answer in time."""
