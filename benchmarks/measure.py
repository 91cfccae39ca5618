"""What a benchmark reads off the machine: its description, the peak of memory, where the time of a call goes."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.autograd.profiler import record_function
from torch.profiler import ProfilerActivity, profile

_STATUS = Path("/proc/self/status")
_MEMORY = Path("/proc/meminfo")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
#: The profiler otherwise writes its comings and goings to stderr, through the progress display.
_SILENT = "6"

#: Operators that multiply matrices, attention included.
_PRODUCTS = re.compile(
    r"(aten|mkldnn)::_?"
    r"(mm|addmm|bmm|baddbmm|matmul|linear|linear_pointwise|mkldnn_linear"
    r"|scaled_dot_product_\w+|flash_attention_\w+|efficient_attention_\w+)"
)


def describe(device: torch.device) -> dict[str, Any]:
    """What a timing depends on, other work on the machine (``load``, before the benchmark) included.

    ``bf16_instructions`` are those of the device that is measured."""
    cpu = torch.cpu.get_capabilities()
    on_gpu = device.type == "cuda"
    return {
        "cpu": cpu.get("cpu_name") or platform.processor() or platform.machine(),
        "gpu": torch.cuda.get_device_name(device) if on_gpu else None,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
        "bf16_instructions": torch.cuda.is_bf16_supported(including_emulation=False)
        if on_gpu
        else any(cpu.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")),
    }


def headline(machine: dict[str, Any]) -> str:
    """What :func:`describe` found, in one line."""
    bf16 = "" if machine["bf16_instructions"] else "no bf16 instructions, so plain bf16 products are slow; "
    return (
        f"{machine['gpu'] or machine['cpu']}, {bf16}{machine['threads']} threads, torch {machine['torch']}, "
        f"load {machine['load']:.1f} at the start"
    )


class Meter:
    """Seconds and peak memory of every call of one side of a comparison."""

    def __init__(self, device: torch.device) -> None:
        self.times: list[float] = []
        self._device = device
        self._peaks: list[int | None] = []

    def measure(self, work: Callable[[], object]) -> None:
        self._peaks.append(peak_bytes(lambda: self.times.append(seconds(work, self._device)), self._device))

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def peak(self) -> int | None:
        return max((peak for peak in self._peaks if peak is not None), default=None)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long the work takes, its share on the device included."""
    _synchronize(device)
    started = time.perf_counter()
    work()
    _synchronize(device)
    return time.perf_counter() - started


def peak_bytes(work: Callable[[], object], device: torch.device) -> int | None:
    """Most memory in use during the work, above what was in use before it; None where the system does not tell."""
    if device.type == "cuda":
        _synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    # Freed memory that the allocator keeps would count as in use before.
    ctypes.CDLL(None).malloc_trim(0)
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        work()
        return None
    before = _bytes_of(_STATUS, "VmRSS")
    work()
    return _bytes_of(_STATUS, "VmHWM") - before


def available_bytes(device: torch.device) -> int | None:
    """Memory that can still be taken; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return _bytes_of(_MEMORY, "MemAvailable") if _MEMORY.exists() else None


def product_share(work: Callable[[], object], device: torch.device) -> float:
    """Share of the work's time that goes into matrix products: of kernel time on a GPU, else of all time."""
    on_gpu = device.type == "cuda"
    os.environ.setdefault("KINETO_LOG_LEVEL", _SILENT)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        # Around everything, so that time between operators counts as time.
        with record_function("work"):
            work()
        _synchronize(device)
    # A kernel is listed under the operator that launched it and once more by itself.
    operators = [event for event in profiler.key_averages() if event.device_type.name == "CPU"]
    times = [
        (event.key, event.self_device_time_total if on_gpu else event.self_cpu_time_total) for event in operators
    ]
    products = sum(taken for key, taken in times if _PRODUCTS.fullmatch(key))
    return float(products / sum(taken for _, taken in times))


def _bytes_of(file: Path, field: str) -> int:
    """The field's value in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", file.read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(f"{file} has no {field}")
    return 1024 * int(found[1])


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
