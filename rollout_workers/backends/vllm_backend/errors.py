"""What goes wrong with vLLM's processes."""

from __future__ import annotations


class VllmError(RuntimeError):
    """vLLM's processes failed, disagreed, or did not answer in time."""
