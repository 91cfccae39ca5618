"""What the chart starts is what the code accepts: the run's command, the service's, and its scripts."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from common.config import Config, load_config
from orchestrator.commands.main import main
from orchestrator.commands.reward_settings import reward_settings
from tests.deploy.chart_render import CASES, MODES, ROOT, only, ray_spec, render
from tests.deploy.tools import missing, tool
from tests.service_process import service


def _arguments(words: list[str], case: str, folder: Path) -> list[str]:
    """``words`` with the recipe at its place on this machine."""
    recipe = words[0]
    if recipe.startswith("/opt/couplet/recipes/"):
        return [str(ROOT / "recipes" / Path(recipe).name), *words[1:]]
    assert recipe == "/etc/couplet/recipe.yaml"
    written = only(render("helm", case, "mode=job"), "ConfigMap", "-recipe")["data"]["recipe.yaml"]
    (folder / "recipe.yaml").write_text(written)
    return [str(folder / "recipe.yaml"), *words[1:]]


def _run_command(case: str, folder: Path) -> list[str]:
    """The entrypoint as Ray's shell would split it, without `couplet train`."""
    words = shlex.split(only(render("helm", case, "mode=job"), "RayJob")["spec"]["entrypoint"])
    assert words[:2] == ["couplet", "train"]
    assert words[-3:] == ["--resume", "auto", "--plain"]
    return _arguments(words[2:-3], case, folder)


def _config(case: str, folder: Path) -> Config:
    recipe, *overrides = _run_command(case, folder)
    return load_config(Path(recipe), overrides)


@pytest.mark.parametrize("case", CASES)
def test_the_entrypoint_is_a_run_that_fits_its_pools(case: str, tmp_path: Path) -> None:
    config = _config(case, tmp_path)
    cluster = ray_spec(render("helm", case, "mode=job"))
    learner, rollout, *_ = cluster["workerGroupSpecs"]
    assert config.learner.ranks == learner["maxReplicas"] * int(learner["resources"]["learner"])
    assert config.rollout.workers == rollout["maxReplicas"] * int(rollout["resources"]["rollout"])
    assert (config.rollout.min_workers or config.rollout.workers) == rollout["minReplicas"] * int(
        rollout["resources"]["rollout"]
    )
    for group, actors, gpus in (
        (learner, config.learner.ranks, config.learner.gpus_per_rank),
        (rollout, config.rollout.workers, config.rollout.gpus_per_worker),
    ):
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert actors * gpus == group["maxReplicas"] * int(limits.get("nvidia.com/gpu", 0))
    assert (config.learner.ray_resource, config.rollout.ray_resource) == ("learner", "rollout")
    assert (config.reward.workers, config.ray.address, config.telemetry.port) == (0, "auto", 9400)
    assert config.folder.name == config.run.id


def test_gpus_that_share_a_model_in_vllm_go_to_one_worker() -> None:
    settings = (
        "recipe=diffucoder_8xh100_vllm.yaml",
        "overrides={rollout.backend.tensor_parallel_size=2}",
        "ray.rollout.gpusPerPod=4",
        "ray.rollout.workersPerPod=2",
    )
    job = only(render("helm", "ci/8-gpu-values.yaml", "mode=job", *settings), "RayJob")
    _, _, recipe, *overrides = shlex.split(job["spec"]["entrypoint"])[:-3]
    rollout = load_config(ROOT / "recipes" / Path(recipe).name, overrides).rollout
    assert (rollout.backend.kind, rollout.gpus_per_worker, rollout.workers) == ("vllm", 2, 10)


def test_a_recipe_of_the_values_and_strange_overrides_arrive_whole(tmp_path: Path) -> None:
    config = _config("chart_full_values.yaml", tmp_path)
    assert config.run.about == 'It\'s a "test" of $HOME and `quotes`'
    assert config.learner.optimizer.learning_rate == 1e-6
    assert config.folder == Path("/mnt/team/full-run")
    assert config.data.train_tasks == 40
    assert (config.learner.gpus_per_rank, config.rollout.gpus_per_worker) == (0.5, 1)


def test_couplet_train_takes_the_entrypoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", *_run_command("ci/one-gpu-machine-values.yaml", tmp_path), "--resume", "auto", "--dry-run"]
    main(command, standalone_mode=False)
    shown = capsys.readouterr().out
    assert "demo-couplet" in shown
    assert "learner" in shown


@pytest.mark.parametrize("case", CASES)
def test_the_reward_service_gets_the_same_rewards(case: str, tmp_path: Path) -> None:
    documents = render("helm", case, "mode=job")
    (container,) = only(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["couplet", "serve-rewards"]
    words = _arguments(container["args"], case, tmp_path)
    options = [word for word in words if word.startswith("--")]
    settings = reward_settings([word for word in words if not word.startswith("--")])
    config = _config(case, tmp_path)
    assert settings.reward == config.reward
    assert f"--run-id={config.run.id}" in options
    assert "--streams-url=env:COUPLET_REDIS_URL" in options
    assert {"COUPLET_REDIS_URL", "COUPLET_REWARD_TOKEN"} <= {variable["name"] for variable in container["env"]}


@pytest.mark.parametrize("case", CASES)
def test_the_reward_pod_has_what_its_isolation_takes_and_no_more(case: str) -> None:
    """docs/kubernetes.md has the measurements that this follows."""
    documents = render("helm", case, "mode=job")
    spec = only(documents, "Deployment")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    level = next(word for word in container["args"] if word.startswith("reward.sandbox_level=")).partition("=")[2]
    pod, own = spec["securityContext"], container["securityContext"]
    assert own["readOnlyRootFilesystem"] is True
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"]["drop"] == ["ALL"]
    assert spec["automountServiceAccountToken"] is False
    if level == "uid":
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own["capabilities"]["add"] == ["CHOWN", "DAC_OVERRIDE", "KILL", "SETGID", "SETUID"]
        assert spec["hostUsers"] is False
    else:
        assert pod["runAsNonRoot"] is True
        assert "add" not in own["capabilities"]


def test_the_test_of_the_release_passes_against_a_service_and_only_with_its_token() -> None:
    (container,) = only(render("helm", "", "mode=job"), "Pod")["spec"]["containers"]
    *command, address = container["command"]
    assert address == "http://demo-couplet-rewards:8080"
    with service(token="word") as running:
        for token, code in (("word", 0), ("other", 1)):
            done = subprocess.run(
                [sys.executable, *command[1:], running.url],
                env={**os.environ, "COUPLET_REWARD_TOKEN": token},
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == code, done.stderr


def test_the_heads_hook_asks_the_run_to_stop_and_waits_for_it(tmp_path: Path) -> None:
    """In a PID namespace of its own, since it stops every run that it sees."""
    if os.geteuid() != 0:
        missing("a PID namespace takes root here: run the tests as root")
    head = ray_spec(render("helm", "", "mode=job"))["headGroupSpec"]["template"]["spec"]
    command = head["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert head["terminationGracePeriodSeconds"] > int(command[-1])
    (tmp_path / "couplet").write_text(
        "import pathlib, signal, sys, time\n"
        "def stop(*_): time.sleep(0.2); pathlib.Path('saved').touch(); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop)\npathlib.Path('up').touch()\ntime.sleep(60)\n"
    )
    (tmp_path / "hook.py").write_text(command[2])
    shell = (
        f"{sys.executable} {tmp_path}/couplet train recipe.yaml & run=$!; while [ ! -e up ]; do sleep 0.05; done; "
        f"{sys.executable} hook.py 30; [ -e saved ] || exit 1; wait $run; [ $? = 143 ]"
    )
    done = subprocess.run(
        [str(tool("unshare")), "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", shell],
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == 0


@pytest.mark.parametrize("mode", MODES)
def test_prometheus_takes_the_scrape_configuration(mode: str, tmp_path: Path) -> None:
    plain = only(render("helm", "", mode), "ConfigMap", "-scrape-config")["data"]["couplet.yaml"]
    file = tmp_path / "prometheus.yml"
    file.write_text(plain)
    done = subprocess.run(
        [str(tool("promtool")), "check", "config", str(file)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
