"""What vLLM finds in its environment; vLLM itself is not needed."""

from __future__ import annotations

import os

import pytest

from common.errors import UserError
from rollout_workers.backends.vllm_backend.environment import prepare, shown_level

VARIABLES = ("COUPLET_VLLM_LOG", "VLLM_LOGGING_LEVEL", "VLLM_LOGGING_STREAM", "OMP_NUM_THREADS")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The variables before anything has set them; afterwards they are as they were."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that it is restored, whoever sets it
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    ("asked", "level"), [(None, "CRITICAL"), ("", "CRITICAL"), ("info", "INFO"), ("DEBUG", "DEBUG")]
)
def test_vllm_is_silent_unless_asked_and_logs_to_standard_error(
    environment: pytest.MonkeyPatch, asked: str | None, level: str
) -> None:
    if asked is not None:
        environment.setenv("COUPLET_VLLM_LOG", asked)
    prepare(threads=3, processes=2)
    assert os.environ["VLLM_LOGGING_LEVEL"] == level
    assert os.environ["VLLM_LOGGING_STREAM"] == "ext://sys.stderr"
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert shown_level() == (level if asked else None)


def test_what_is_no_level_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("COUPLET_VLLM_LOG", "loud")
    with pytest.raises(
        UserError, match=r"\$COUPLET_VLLM_LOG: 'LOUD' is no level of logging; set one of DEBUG, INFO"
    ):
        prepare(threads=1, processes=1)


def test_processes_share_the_cores(environment: pytest.MonkeyPatch) -> None:
    cores = len(os.sched_getaffinity(0))
    prepare(threads=0, processes=1)
    assert os.environ["OMP_NUM_THREADS"] == str(cores)
    prepare(threads=0, processes=10 * cores)
    assert os.environ["OMP_NUM_THREADS"] == "1"
