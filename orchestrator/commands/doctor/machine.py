"""The doctor's questions to the machine itself, and what one line of the doctor says.

Where a probe takes ``root``, that is the file system's root; tests give it another.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Status = Literal["ok", "warning", "missing"]

_ROOT = Path("/")
_HEADERS = Path(sysconfig.get_path("include"))
_GIB = 1024**3
_GPU_DEVICES = ("dev/nvidiactl", "dev/kfd", "dev/dxg")
_TORCH_SECONDS = 9.0
_ASK_TORCH = """
import torch
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(len(names), "; ".join(sorted(set(names))) or torch.__version__, sep=" x ")
"""


@dataclass(frozen=True)
class Check:
    """The answer to one question; ``remedy`` says what to do about it and is empty where nothing is to be done."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


def python(version: tuple[int, ...] = sys.version_info[:3], executable: str = sys.executable) -> Check:
    if any(map(str.isspace, executable)):
        remedy = "Ray starts no workers from a path with a space: make the virtual environment in another folder"
        return Check("Python", "missing", executable, remedy)
    if version >= (3, 11):
        return Check("Python", "ok", f"{platform.python_version()} ({executable})")
    return Check("Python", "missing", ".".join(map(str, version)), "install Python 3.11 or newer")


def cores(root: Path = _ROOT) -> Check:
    usable = len(os.sched_getaffinity(0))
    quota, _, period = _read(root / "sys/fs/cgroup/cpu.max").partition(" ")
    limit = int(quota) / int(period) if quota.isdigit() and period.isdigit() else float(usable)
    detail = f"{usable}" + (f", limited to {limit:g} by the cgroup" if limit < usable else "")
    if min(limit, usable) < 2:
        return Check("CPU cores", "warning", detail, "give it two cores or more: rollouts and tests share one")
    return Check("CPU cores", "ok", detail)


def memory(root: Path = _ROOT) -> Check:
    fields = dict(line.split(":", 1) for line in _read(root / "proc/meminfo").splitlines() if line.count(":") == 1)
    total, free = (int(fields.get(name, "0").split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    if not total:
        return Check("memory", "warning", "unknown: no /proc/meminfo", "run on Linux with /proc mounted")
    limit = _read(root / "sys/fs/cgroup/memory.max") or _read(root / "sys/fs/cgroup/memory/memory.limit_in_bytes")
    if limit.isdigit() and int(limit) < total:
        used = _read(root / "sys/fs/cgroup/memory.current")
        total, free = int(limit), min(free, int(limit) - (int(used) if used.isdigit() else 0))
    detail = f"{free / _GIB:.1f} GiB free of {total / _GIB:.1f} GiB"
    if free < 4 * _GIB:
        return Check("memory", "warning", detail, "free or add memory: the quick start needs about 4 GiB")
    return Check("memory", "ok", detail)


def disk(folder: Path | None = None) -> Check:
    where = folder or Path.cwd()
    free = shutil.disk_usage(where).free
    detail = f"{free / _GIB:.1f} GiB free at {where}"
    if free < 5 * _GIB:
        return Check("disk", "warning", detail, "free some space, or set run.folder to a larger disk")
    return Check("disk", "ok", detail)


def shared_memory(root: Path = _ROOT) -> Check:
    folder = root / "dev/shm"
    if not folder.is_dir():
        return Check("/dev/shm", "warning", "not there", "mount a tmpfs on /dev/shm, or Ray spills to disk")
    size = shutil.disk_usage(folder).total
    detail = f"{size / _GIB:.2f} GiB"
    if size < _GIB // 2:
        remedy = "docker run --shm-size=2g, or in Kubernetes an emptyDir with medium: Memory on /dev/shm"
        return Check("/dev/shm", "warning", f"{detail}: Ray will use a slower folder", remedy)
    return Check("/dev/shm", "ok", detail)


def cgroups(root: Path = _ROOT) -> Check:
    folder = root / "sys/fs/cgroup"
    if (folder / "cgroup.controllers").exists():
        return Check("cgroups", "ok", "v2")
    if (folder / "memory").exists():
        return Check("cgroups", "ok", "v1")
    return Check("cgroups", "ok", "none: resource limits alone bound the programs")


def open_files(limits: Callable[[int], tuple[int, int]] = resource.getrlimit) -> Check:
    soft, hard = limits(resource.RLIMIT_NOFILE)
    detail = f"{_files(soft)} (hard limit {_files(hard)})"
    if soft != resource.RLIM_INFINITY and soft < 4096:
        return Check("open files", "warning", detail, f"ulimit -n {min(hard, 65536) if hard > 0 else 65536}")
    return Check("open files", "ok", detail)


def compiler(find: Callable[[str], str | None] = shutil.which, headers: Path = _HEADERS) -> Check:
    """torch.compile needs a C++ compiler and Python's headers."""
    found = next(filter(None, map(find, [os.environ.get("CXX", "g++"), "g++", "clang++"])), None)
    remedy = "apt-get install g++ python3-dev: sampling from a large vocabulary is several times faster compiled"
    if found is None:
        return Check("C++ compiler", "warning", "none", remedy)
    if not (headers / "Python.h").is_file():
        return Check("C++ compiler", "warning", f"{found}, but no Python.h in {headers}", remedy)
    return Check("C++ compiler", "ok", found)


def ask_torch() -> str:
    """Number and names of torch's GPUs, as ``1 x NAME``, asked in another process: torch is slow to import.

    Raises OSError or subprocess.SubprocessError where torch does not answer.
    """
    return subprocess.run(
        [sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, timeout=_TORCH_SECONDS, check=True
    ).stdout.strip()


def gpu(root: Path = _ROOT, ask: Callable[[], str] = ask_torch) -> Check:
    if not any((root / device).exists() for device in _GPU_DEVICES):
        return Check("GPU", "ok", "none: runs on the CPU")
    try:
        found = ask()
    except subprocess.TimeoutExpired:
        return Check("GPU", "warning", "there is one, but torch did not answer in time", "try nvidia-smi")
    except (OSError, subprocess.SubprocessError):
        return Check("GPU", "warning", "there is one, but torch cannot be imported", "pip install torch")
    if found.startswith("0 "):
        detail = f"there is one, but torch {found.removeprefix('0 x ')} does not see it"
        return Check("GPU", "warning", detail, "check nvidia-smi, CUDA_VISIBLE_DEVICES and the build of torch")
    return Check("GPU", "ok", found)


def _files(count: int) -> str:
    return "unlimited" if count == resource.RLIM_INFINITY else str(count)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
