"""Actors of a local Ray are forks of one that has imported what they need, or else start as Ray starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from common.actors import ACTOR_VARIABLE
from orchestrator.fleet.failure_log import FILE, failure_log
from orchestrator.fleet.forking import setup_worker
from orchestrator.fleet.forking.process import fork_server, forked_for

LONG = 30.0
#: In the place of Ray's: it tells what it is, and lives until its standard input ends.
WORKER = """
import json, os, signal, sys
loaded = [name for name in ("loaded_early", "loaded_late") if name in sys.modules]
found = {"pid": os.getpid(), "parent": os.getppid(), "group": os.getpgid(0), "arguments": sys.argv,
         "path": sys.path, "folder": os.getcwd(), "environment": dict(os.environ), "loaded": loaded,
         "name": __name__, "child": signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL}
print(json.dumps(found), flush=True)
sys.stdin.read()
"""


class Launched:
    """A worker as ``setup_worker.py`` starts it, with the runtime environment of an actor of ours."""

    def __init__(self, folder: Path, *arguments: str, **context: Any) -> None:
        worker = folder / "default_worker.py"
        worker.write_text(WORKER)
        usual = {"py_executable": sys.executable, "env_vars": {ACTOR_VARIABLE: "run/rollout-0"}, "java_jars": []}
        self.process = subprocess.Popen(
            [
                *(sys.executable, setup_worker.__file__, str(worker), "--first=1", "--language=PYTHON"),
                f"--serialized-runtime-env-context={json.dumps(usual | context)}",
                *arguments,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        assert self.process.stdout is not None
        self.found: dict[str, Any] = json.loads(self.process.stdout.readline())

    @property
    def forked(self) -> bool:
        return bool(self.found["pid"] != self.process.pid)

    def end(self) -> None:
        self.process.communicate(timeout=LONG)


@contextmanager
def serving(folder: Path, early: str = "", late: str = "") -> Iterator[None]:
    (folder / "loaded_early.py").write_text(early)
    (folder / "loaded_late.py").write_text(late)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        with fork_server(["numpy", "loaded_early"], ["loaded_late"]):
            yield


def test_a_fork_is_what_python_would_be(tmp_path: Path) -> None:
    with failure_log(tmp_path), serving(tmp_path, late="import os; assert os.environ['RAY_setting'] == '7'"):
        one = Launched(tmp_path, "--second", env_vars={ACTOR_VARIABLE: "run/rollout-0", "RAY_setting": "7"})
        other = Launched(tmp_path, env_vars={ACTOR_VARIABLE: "run/rollout-1", "RAY_setting": "7"})
        found = one.found
        assert one.forked
        assert found["parent"] == other.found["parent"]
        assert found["loaded"] == ["loaded_early", "loaded_late"]
        assert found["name"] == "__main__"
        assert found["arguments"] == [str(tmp_path / "default_worker.py"), "--first=1", "--second"]
        assert found["folder"] == str(tmp_path)
        assert found["group"] == found["pid"]
        assert found["child"]
        assert found["environment"][ACTOR_VARIABLE] == "run/rollout-0"
        assert not {setup_worker.SERVER_VARIABLE, "CUDA_VISIBLE_DEVICES"} & found["environment"].keys()
        ordinary = Launched(tmp_path, env_vars={})
        assert not ordinary.forked
        assert ordinary.found["path"] == found["path"]
        for launched in (one, other, ordinary):
            launched.end()
    assert setup_worker.SERVER_VARIABLE not in os.environ
    assert not psutil.pid_exists(found["parent"])
    assert not (tmp_path / FILE).exists()


def test_what_waits_for_a_fork_is_found_by_it_and_ends_with_it(tmp_path: Path) -> None:
    with serving(tmp_path):
        launched = Launched(tmp_path)
        end = time.monotonic() + LONG
        while (pid := forked_for(launched.process.pid)) == launched.process.pid and time.monotonic() < end:
            time.sleep(0.01)
        assert pid == launched.found["pid"]
        assert forked_for(pid) == pid
        os.kill(pid, signal.SIGKILL)
        assert launched.process.wait(LONG) == 0
    assert forked_for(pid) == pid, "it is gone"


@pytest.mark.parametrize(
    ("early", "late", "why"),
    [
        ("raise ImportError('no such thing')", "", "ImportError: no such thing"),
        ("", "import sys; sys.exit('no')", "\nno"),
        (
            "import threading, time; threading.Thread(target=time.sleep, args=(30,), daemon=True).start()",
            "",
            "has started a thread",
        ),
    ],
    ids=["import", "late-import", "thread"],
)
def test_what_cannot_be_forked_is_started_as_ray_starts_it_and_the_failure_log_says_why(
    tmp_path: Path, early: str, late: str, why: str
) -> None:
    with failure_log(tmp_path):
        with serving(tmp_path, early, late):
            launched = Launched(tmp_path)
            assert not launched.forked
            assert launched.found["loaded"] == []
            launched.end()
        told = (tmp_path / FILE).read_text()
    assert "actors were not forked" in told
    assert why in told


def test_a_server_that_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    with serving(tmp_path):
        one = Launched(tmp_path)
        server = psutil.Process(one.found["parent"])
        server.kill()
        server.wait(LONG)
        other = Launched(tmp_path)
        assert (one.forked, other.forked) == (True, False)
        one.end()
        other.end()


@pytest.mark.parametrize(
    "context", [{"command_prefix": ["true"]}, {"py_executable": "/other/python"}, {"env_vars": {"A": "${PATH}"}}]
)
def test_other_runtime_environments_are_rays(tmp_path: Path, context: dict[str, Any]) -> None:
    (tmp_path / "setup_worker.py").write_text(
        "import json, sys; print(json.dumps({'pid': 0, 'all': sys.argv[1:]}))"
    )
    launched = Launched(tmp_path, **context)
    assert "--language=PYTHON" in launched.found["all"]
    launched.end()
