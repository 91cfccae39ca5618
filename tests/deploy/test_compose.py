"""compose.yaml: valid, and everything that it names is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from common.config import load_config
from orchestrator.commands.main import main
from orchestrator.commands.serve_rewards import serve_rewards
from orchestrator.commands.train import train
from tests.deploy.promql import DASHBOARDS
from tests.deploy.tools import tool

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "compose.yaml"
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
REQUIRED = {"COUPLET_REDIS_PASSWORD", "COUPLET_REWARD_TOKEN", "COUPLET_GRAFANA_PASSWORD"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """As written, with the defaults of its variables filled in and $$ unescaped."""
    text = VARIABLE.sub(
        lambda found: found[3] if found[2] == "-" else "secret", (ROOT / "compose.yaml").read_text()
    )
    loaded: dict[str, Any] = yaml.safe_load(text.replace("$$", "$"))
    return loaded


def schema_errors(file: Path) -> str:
    command = [str(tool("check-jsonschema")), "--builtin-schema", "vendor.compose-spec", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout if done.returncode else ""


def bind_mounts(service: dict[str, Any]) -> dict[str, str]:
    """Path inside -> path in the repository; named volumes are left out."""
    pairs = [volume.split(":")[:2] for volume in service.get("volumes", [])]
    return {inside: outside for outside, inside in pairs if outside.startswith(".")}


def test_it_follows_the_compose_specification_which_notices_a_typing_error(tmp_path: Path) -> None:
    assert schema_errors(COMPOSE) == ""
    broken = tmp_path / "compose.yaml"
    broken.write_text(COMPOSE.read_text().replace("depends_on:", "depend_on:", 1))
    assert "depend_on" in schema_errors(broken)


def test_secrets_have_no_default_and_a_remedy() -> None:
    found = {
        name: (kind, text) for name, kind, text in VARIABLE.findall((ROOT / "compose.yaml").read_text()) if kind
    }
    assert {name for name, (kind, _) in found.items() if kind == "?"} == REQUIRED
    assert {name for name, (_, text) in found.items() if not text} == {"COUPLET_OVERRIDES"}


def test_every_name_in_it_exists(compose: dict[str, Any]) -> None:
    services, volumes, networks = compose["services"], compose["volumes"], compose["networks"]
    used = set()
    for service in services.values():
        assert set(service.get("depends_on", [])) <= services.keys()
        assert set(service["networks"]) <= networks.keys()
        named = {volume.split(":")[0] for volume in service.get("volumes", [])}
        used |= {name for name in named if not name.startswith(".")}
        for path in bind_mounts(service).values():
            assert path == "./data" or (ROOT / path).exists(), path
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()
        for option in service["security_opt"]:
            if option.startswith("seccomp:"):
                json.loads((ROOT / option.removeprefix("seccomp:")).read_text())
    assert used == volumes.keys()


def test_nothing_has_a_capability_or_a_port_for_other_machines(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service
        assert "privileged" not in service
        assert "no-new-privileges:true" in service["security_opt"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        image, _, tag = service["image"].rpartition(":")
        assert image
        assert tag != "latest"


def test_programs_have_no_way_out(compose: dict[str, Any]) -> None:
    reward = compose["services"]["reward"]
    assert reward["networks"] == ["rewards"]
    assert compose["networks"]["rewards"] == {"internal": True}
    assert reward["read_only"] is True
    assert all(volume.endswith(":ro") for volume in reward["volumes"])


def test_the_run_and_the_reward_service_are_told_the_same(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    services = compose["services"]
    recipe, *overrides = [part for part in services["train"]["command"] if not part.startswith("--")]
    config = load_config(ROOT / recipe, overrides)
    assert (config.reward.workers, config.telemetry.port, config.ray.address) == (0, 9400, "auto")
    assert config.streams.url == "env:COUPLET_REDIS_URL"
    for service in (services["train"], services["reward"]):
        assert service["environment"]["COUPLET_REDIS_URL"].endswith("@redis:6379/0")
    _, told, *options = services["reward"]["command"]
    assert told == recipe
    assert f"--run-id={config.run.id}" in options
    assert f"--streams-url={config.streams.url}" in options
    known = {name for command in (serve_rewards, train) for option in command.params for name in option.opts}
    given = {part.split("=")[0] for part in [*options, *services["train"]["command"]] if part.startswith("--")}
    assert given <= known
    monkeypatch.setenv("COUPLET_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("COUPLET_REWARD_TOKEN", "token")
    refused = CliRunner().invoke(main, ["serve-rewards", str(ROOT / told), *options, "--port=0"])
    assert "no Redis answers" in refused.output  # so far everything was understood


@pytest.mark.parametrize(("service", "command"), [("train", []), ("reward", ["serve-rewards"])])
def test_overrides_of_the_environment_reach_the_run_and_the_service(
    compose: dict[str, Any], service: str, command: list[str], tmp_path: Path
) -> None:
    """Words of one variable, whose brackets are no patterns of the files here."""
    (tmp_path / "reward.tests_weight=x").touch()
    shell, option, script, name = compose["services"][service]["entrypoint"]
    done = subprocess.run(
        [shell, option, script.replace("ray start", "true"), name, *command, "recipes/quickstart.yaml"],
        cwd=tmp_path,
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "COUPLET_OVERRIDES": "run.steps=3 reward.tests_weight=[x]",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "reward.tests_weight" in done.stderr
    assert "COUPLET_OVERRIDES" in compose["services"][service]["environment"]


def test_the_object_store_of_ray_fits_into_shared_memory(compose: dict[str, Any]) -> None:
    shell, option, script, _ = compose["services"]["train"]["entrypoint"]
    start, run, _ = script.partition("&& exec couplet")
    assert run
    done = subprocess.run(
        [shell, option, start.replace("ray start", "echo")], capture_output=True, text=True, check=True, timeout=60
    )
    (store,) = re.findall(r"--object-store-memory=(\d+)\n", done.stdout)
    assert int(store) == shutil.disk_usage("/dev/shm").total * 4 // 5


def test_without_a_gpu_none_is_asked_for(compose: dict[str, Any]) -> None:
    class Loader(yaml.SafeLoader):
        """Compose's tag that takes away what the first file says."""

    Loader.add_constructor("!reset", lambda loader, node: None)
    changes = yaml.load((ROOT / "deploy/compose/cpu.yaml").read_text(), Loader)["services"]
    assert changes == {"train": {"deploy": None}}
    assert compose["services"]["train"]["deploy"]["resources"]["reservations"]["devices"]


def test_prometheus_takes_its_configuration_and_finds_the_services(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    services = compose["services"]
    for inside, outside in bind_mounts(services["prometheus"]).items():
        shutil.copy(ROOT / outside, tmp_path / Path(inside).name)
    done = subprocess.run(
        [str(tool("promtool")), "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rule files found" in done.stdout
    jobs = {
        job["job_name"]: job for job in yaml.safe_load((tmp_path / "prometheus.yml").read_text())["scrape_configs"]
    }
    assert jobs["couplet-run"]["http_sd_configs"][0]["url"] == "http://train:9400/targets"
    (targets,) = jobs["couplet-ray"]["static_configs"]
    (started,) = [word for word in services["train"]["entrypoint"][2].split() if "metrics-export-port" in word]
    assert targets["targets"] == [f"train:{started.rpartition('=')[2]}"]
    assert jobs["couplet-rewards"]["static_configs"][0]["targets"] == ["reward:8080"]
    assert jobs["couplet-redis"]["static_configs"][0]["targets"] == ["redis-exporter:9121"]
    for name in ("train", "reward", "redis-exporter"):
        assert set(services[name]["networks"]) & set(services["prometheus"]["networks"])


def test_grafana_is_provisioned_with_every_dashboard(compose: dict[str, Any]) -> None:
    grafana = compose["services"]["grafana"]
    mounts = bind_mounts(grafana)
    provisioning = ROOT / mounts["/etc/grafana/provisioning"]
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    assert set(grafana["networks"]) & set(compose["services"]["prometheus"]["networks"])
    (provider,) = yaml.safe_load((provisioning / "dashboards/couplet.yaml").read_text())["providers"]
    dashboards = ROOT / mounts[provider["options"]["path"]]
    assert sorted(dashboards.glob("*.json")) == DASHBOARDS != []
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert json.loads((dashboards / home.name).read_text())["uid"] == "couplet-run"
    assert str(home.parent) == provider["options"]["path"]
