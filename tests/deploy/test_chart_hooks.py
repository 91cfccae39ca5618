"""What pods do before they are ended: the learner's and Redis' stay until the run has its checkpoint."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import redis

from common.heartbeat import LEAVING
from orchestrator.fleet.embedded_redis import EmbeddedRedis
from tests.deploy.chart_render import only, ray_spec, render
from tests.deploy.tools import missing, tool

#: `redis-cli` as far as the hook uses it.
_CLI = """#!{python}
import sys, redis
open("{asked}", "a").write("x")
client = redis.Redis.from_url("{url}")
for one in client.client_list():
    print(*(f"{{name}}={{value}}" for name, value in one.items()))
"""


def _hook(pod: dict[str, Any]) -> list[str]:
    container = pod["containers"][0]
    command: list[str] = container["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] > int(command[-1])
    return command


def test_a_learner_pod_tells_its_ranks_and_stays_while_they_live(tmp_path: Path) -> None:
    """In a PID namespace of its own, where no other test's rank is seen."""
    if os.geteuid() != 0:
        missing("a PID namespace takes root here: run the tests as root")
    learner, rollout = ray_spec(render("helm", "", "mode=job"))["workerGroupSpecs"]
    pod = learner["template"]["spec"]
    assert "lifecycle" not in rollout["template"]["spec"]["containers"][0]
    assert LEAVING in {variable["name"] for variable in pod["containers"][0]["env"]}
    (tmp_path / "hook.py").write_text(_hook(pod)[2])
    shell = (
        "bash -c 'exec -a ray::LearnerRank.step sleep 60' & rank=$!;"
        "while ! grep -q ^ray:: /proc/$rank/cmdline; do sleep 0.05; done;"
        f"{sys.executable} hook.py 60 & hook=$!; while [ ! -e leaving ]; do sleep 0.05; done;"
        "[ -e /proc/$hook ] || exit 1; kill $rank; wait $hook"
    )
    done = subprocess.run(
        [str(tool("unshare")), "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", shell],
        cwd=tmp_path,
        env={**os.environ, LEAVING: str(tmp_path / "leaving")},
        timeout=45,
    )
    assert done.returncode == 0


def test_redis_stays_while_anybody_is_connected(tmp_path: Path) -> None:
    pod = only(render("helm", "", "mode=job"), "StatefulSet")["spec"]["template"]["spec"]
    command = _hook(pod)
    with EmbeddedRedis(tmp_path) as server:
        shim, asked = tmp_path / "redis-cli", tmp_path / "asked"
        shim.write_text(_CLI.format(python=sys.executable, url=server.url, asked=asked))
        shim.chmod(0o755)
        # Every client is on the loopback address here: the run's is taken for one of another pod by its name.
        shell = command[2].replace(r"' addr=127\.0\.0\.1:'", "'name=None\\|name= '")
        assert shell != command[2]
        run = redis.Redis.from_url(server.url, client_name="run")
        run.ping()
        hook = subprocess.Popen(
            [*command[:2], shell, *command[3:]], env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        )
        try:
            end = time.monotonic() + 45
            while time.monotonic() < end and (not asked.exists() or len(asked.read_text()) < 2):
                time.sleep(0.05)
            assert len(asked.read_text()) > 1, "the hook did not ask twice"
            assert hook.poll() is None
            run.close()
            assert hook.wait(timeout=45) == 0
        finally:
            hook.kill()
            hook.wait()
