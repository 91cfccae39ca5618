"""The images: built and run on a Docker engine of the tests' own, from a base of Debian's packages."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import ImageNotFound
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sandbox.docker.backend import DockerSandbox
from sandbox.inside import values
from sandbox.types import Case, Limits, Outcome, Program
from tests.deploy.image_base import BASE, ROOT, build, connect, ensure_base, quick_folder
from tests.deploy.image_service import RewardContainer, reward_service, run
from tests.deploy.tools import missing, tool
from tests.sandbox.engine import EngineError, PrivateEngine

DOCKER = ROOT / "deploy/docker"
DOCKERFILES = [*sorted(DOCKER.glob("*.Dockerfile")), ROOT / "deploy/sandbox/Dockerfile"]
REWARD, PYTHON = "couplet-test-reward", "couplet-test-python"
#: A fifth more than measured, on top of the base (MB).
REWARD_MB, PYTHON_MB = 146, 66
UID_CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "KILL", "SETGID", "SETUID"]
FACTS = """
import importlib.util, json, os, sys
absent = [name for name in ("torch", "ray", "transformers", "deepspeed", "pip", "setuptools")
          if importlib.util.find_spec(name) is None]
print(json.dumps({"ids": [os.getuid(), os.getgid()], "absent": absent, "recipes": os.listdir("recipes"),
                  "bill": {c["name"]: c["version"] for c in json.load(open("sbom.cdx.json"))["components"]},
                  "code_writable": os.access(os.path.dirname(os.__file__), os.W_OK), "cwd": os.getcwd()}))
"""


@pytest.fixture(scope="module")
def engine_url() -> Iterator[str]:
    if os.geteuid() != 0:
        missing("a Docker engine of our own needs root")
    tool("dockerd")
    folder = Path(tempfile.mkdtemp(prefix="couplet-images-", dir=quick_folder()))
    engine = PrivateEngine(folder)
    try:
        try:
            engine.start()
        except EngineError as error:
            missing(f"no Docker engine: {error}")
        yield engine.url
    finally:
        engine.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def client(engine_url: str) -> Iterator[Any]:
    connected = connect(engine_url)
    yield connected
    connected.close()


@pytest.fixture(scope="module")
def base(client: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return ensure_base(client, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def reward_image(client: Any, base: str) -> str:
    build(client, ROOT, DOCKER / "reward.Dockerfile", REWARD)
    return REWARD


@pytest.fixture(scope="module")
def python_image(client: Any, base: str) -> str:
    build(client, ROOT / "deploy/sandbox", ROOT / "deploy/sandbox/Dockerfile", PYTHON)
    return PYTHON


@pytest.fixture(scope="module")
def service(client: Any, reward_image: str) -> Iterator[RewardContainer]:
    with reward_service(client, reward_image) as started:
        yield started


def megabytes_on_base(client: Any, image: str) -> float:
    return float(client.images.get(image).attrs["Size"] - client.images.get(BASE).attrs["Size"]) / 1e6


def test_the_reward_service_judges_behind_the_walls_of_compose(service: RewardContainer) -> None:
    assert "sandbox: jail, level namespaces" in service.printed
    assert service.ask("GET", "/readyz", token=None)[0] == 200
    group = {
        "id": "g",
        "task": {
            "id": "add",
            "prompt": "",
            "prefix": "def add(a, b):\n",
            "tests": [{"call": "add(1, 2)", "expected": "3"}, {"call": "add(2, 2)", "expected": "4"}],
        },
        "completions": ["    return a + b\n", "    return 3\n"],
    }
    assert service.ask("POST", "/v1/score", {"groups": [group]}, token=None)[0] == 401
    status, text = service.ask("POST", "/v1/score", {"groups": [group]})
    assert status == 200, text
    scores = json.loads(text.splitlines()[0])["scores"]
    assert [score["verdicts"] for score in scores] == [["passed", "passed"], ["passed", "failed"]]
    assert "couplet_scoring_tests_total{" in service.ask("GET", "/metrics", token=None)[1]
    processes = service.processes()
    assert {process["UID"] for process in processes} == {"10001"}
    assert not [process for process in processes if process["STAT"].startswith("Z")]


def test_sigterm_ends_the_service_in_order(service: RewardContainer) -> None:
    assert service.terminate() == 0, service.printed
    assert "shutting down" in service.printed


def test_the_reward_image_is_small_and_runs_as_nobody_in_particular(client: Any, reward_image: str) -> None:
    code, printed = run(client, reward_image, "python3", "-c", FACTS)
    assert code == 0, printed
    facts = json.loads(printed)
    assert facts["ids"] == [10001, 10001]
    assert len(facts["absent"]) == 6
    assert set(facts["recipes"]) == {path.name for path in (ROOT / "recipes").iterdir()}
    assert facts["cwd"] == "/opt/couplet"
    assert not facts["code_writable"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    bill = {canonicalize_name(name): found for name, found in facts["bill"].items()}
    assert bill == {**pins("reward"), "couplet-rl": version}
    attributes = client.images.get(reward_image).attrs["Config"]
    assert attributes["User"] == "10001:10001"
    assert attributes["Entrypoint"] == ["couplet"]
    assert attributes["Labels"]["org.opencontainers.image.version"] == version
    assert not [entry for entry in attributes["Env"] if entry.startswith("PIP_")]
    assert megabytes_on_base(client, reward_image) < REWARD_MB


def test_an_engines_own_seccomp_profile_leaves_the_user_ids_to_a_root_of_five_capabilities(
    client: Any, reward_image: str
) -> None:
    default = {"security_opt": ["no-new-privileges"]}
    code, printed = run(client, reward_image, "sandbox", "info", "--level", "uid", **default)
    assert code == 2
    assert "this machine offers none" in printed
    code, printed = run(
        client, reward_image, "sandbox", "info", "--level", "uid", user="0:0", cap_add=UID_CAPABILITIES, **default
    )
    assert code == 0, printed
    assert json.loads(printed)["level"] == "uid"


def test_the_sandbox_image_holds_a_python_and_no_other_program(
    client: Any, python_image: str, engine_url: str
) -> None:
    folders = "/bin /sbin /usr/bin /usr/sbin /usr/local/bin /usr/local/sbin"
    listing = f"import os; print({{n for f in '{folders}'.split() if os.path.isdir(f) for n in os.listdir(f)}})"
    code, printed = run(client, python_image, "python3", "-c", listing, security_opt=["no-new-privileges"])
    assert code == 0, printed
    assert all(name.startswith("python3") for name in ast.literal_eval(printed))
    image = client.images.get(python_image)
    assert image.attrs["Config"]["User"] == "10001:10001"
    assert len(image.attrs["RootFS"]["Layers"]) == 1
    assert image.attrs["Size"] / 1e6 < PYTHON_MB
    program = Program("import math, zoneinfo\n", (Case("0", "call", call="math.comb(7, 3)"),))
    with DockerSandbox(1, base_url=engine_url, image=python_image) as sandbox:
        (outcome,) = sandbox.run(program, Limits())
    assert outcome.outcome is Outcome.OK
    assert values.decode(outcome.value or b"") == 35


def test_a_build_that_fails_says_why(client: Any, base: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN echo it is this && false\n")
    with pytest.raises(AssertionError, match="it is this"):
        build(client, tmp_path, tmp_path / "Dockerfile", "couplet-test-fails")
    with pytest.raises(ImageNotFound):
        client.images.get("couplet-test-fails")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(dockerfile: Path) -> None:
    command = [str(tool("hadolint")), "--no-color", str(dockerfile)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_no_image_runs_as_root_or_without_a_base_that_a_site_can_choose(dockerfile: Path) -> None:
    lines = dockerfile.read_text().splitlines()
    assert "USER 10001:10001" in lines
    assert any(line.startswith("ARG BASE_IMAGE=python:3.11-slim") for line in lines)
    assert any(line.startswith("ENTRYPOINT [") for line in lines)  # no shell between it and a signal


def test_the_build_context_holds_every_package() -> None:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {pattern.rstrip("*") for pattern in found["include"]} <= sent


def requirements(texts: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(found.name): found for found in map(Requirement, texts)}


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith(("#", " "))]


def pins(lock: str) -> dict[str, str]:
    """Name -> version of a lock file, each of which has a hash and none of which has an address."""
    text = (DOCKER / f"{lock}.lock").read_text()
    assert "://" not in text
    assert "--index-url" not in text
    found = {}
    for entry in text.replace(" \\\n", " ").splitlines():
        if entry.startswith("#"):
            continue
        pin, _, hashes = entry.partition(" ")
        assert hashes.strip().startswith("--hash=sha256:"), entry
        name, _, version = pin.partition("==")
        found[canonicalize_name(name)] = version
    return found


def test_lock_files_hold_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = requirements(project["dependencies"])
    extras = project["optional-dependencies"]
    optional = requirements([text for name in ("gpu", "lora", "tensorboard", "wandb") for text in extras[name]])
    reward = requirements(lines_of(DOCKER / "reward.in"))
    build_tools = requirements(lines_of(DOCKER / "build.in"))
    assert {name: str(found) for name, found in reward.items()} == {name: str(wanted[name]) for name in reward}
    vllm = requirements(extras["vllm"])
    for lock, asked in (
        ("train", {**wanted, **optional}),
        ("train-vllm", {**wanted, **optional, **vllm}),
        ("reward", reward),
        ("build", build_tools),
        ("sbom", requirements(lines_of(DOCKER / "sbom.in"))),
    ):
        locked = pins(lock)
        for name, requirement in asked.items():
            remedy = f"{lock}.lock has {name} {locked.get(name)}, not {requirement}: run deploy/docker/lock"
            assert name in locked, remedy
            assert requirement.specifier.contains(locked[name], prereleases=True), remedy
    common = pins("reward").keys() & pins("train").keys()
    assert {name: pins("reward")[name] for name in common} == {name: pins("train")[name] for name in common}
    assert not {"torch", "ray", "transformers"} & pins("reward").keys()
