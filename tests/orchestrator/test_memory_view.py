"""``couplet train --dry-run`` says what a run's processes take, and whether that fits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.commands.main import main
from tests.learner.causal_folders import causal_folder, write_gguf

#: The configuration that is published with DiffuCoder-7B, without its weights.
DIFFUCODER: dict[str, Any] = {
    "architectures": ["DreamModel"],
    "model_type": "Dream",
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "pad_token_id": 151643,
    "mask_token_id": 151666,
    "hidden_act": "silu",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 131072,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "vocab_size": 152064,
}
#: All that the recipes may take, so that allocators and batches of another shape have room in 80 GB.
MOST_GB = 70.0
RECIPES = ("diffucoder_8xh100", "diffucoder_10x8h100")
VLLM_RECIPES = ("diffucoder_8xh100_vllm", "diffucoder_10x8h100_vllm")


@pytest.fixture
def diffucoder(tmp_path: Path) -> str:
    (tmp_path / "config.json").write_text(json.dumps(DIFFUCODER))
    return f"model.path={tmp_path}"


def dry_run(*arguments: str, exit_code: int = 0) -> Result:
    found = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["train", "--dry-run", *arguments])
    assert found.exit_code == exit_code, found.output
    return found


def peaks(output: str) -> list[float]:
    return [float(number) for number in re.findall(r"at most ([\d.]+) GB of a GPU", output)]


@pytest.mark.parametrize("recipe", RECIPES + VLLM_RECIPES)
def test_7b_recipes_take_less_than_their_gpus_have(recipe: str, diffucoder: str) -> None:
    output = dry_run(recipe, diffucoder).stdout
    learner, rollout = peaks(output)
    assert 30.0 < learner < MOST_GB
    assert 20.0 < rollout < MOST_GB
    assert "do not fit" not in output
    learners = ("weights", "fp32 master weights", "Adam's averages", "gradients", "reference", "head: logits")
    for part in (*learners, "activations", "weight bucket", "logits and sampling"):
        assert part in output


def test_a_run_that_cannot_fit_is_warned_of(diffucoder: str) -> None:
    changes = ("learner.weights_dtype=float32", "learner.zero_stage=0")
    whole = dry_run("diffucoder_10x8h100", diffucoder, *changes)
    assert re.search(r"warning: \d+\.\d GB do not fit in 80 GB; change learner\.zero_stage", whole.stdout)
    assert "do not fit" not in dry_run("diffucoder_8xh100", diffucoder, "--gpu-gb", "141").stdout
    small = dry_run("diffucoder_8xh100", diffucoder, "--gpu-gb", "24").stdout
    assert small.count("do not fit in 24 GB") == 2


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_published_model_need_not_be_here(recipe: str, diffucoder: str) -> None:
    without = dry_run(recipe).stdout
    assert "by the published shape of apple/DiffuCoder-7B-Instruct, which is not on this machine" in without
    assert peaks(without) == peaks(dry_run(recipe, diffucoder).stdout)


#: Elements of DiffuCoder-7B: embedding and head; of each of 28 layers q and o, k and v, gate, up and down, and the
#: biases of q, k and v; and all norms.
MATRICES = 2 * 152064 * 3584 + 28 * (2 * 3584 * 3584 + 2 * 512 * 3584 + 3 * 3584 * 18944 + 3584 + 2 * 512)
NORMS = (2 * 28 + 1) * 3584


@pytest.mark.parametrize(
    ("settings", "size", "each"),
    [
        ([], 1, 2 * (MATRICES + NORMS)),
        (["rollout.backend.dtype=float32"], 1, 4 * (MATRICES + NORMS)),
        (["rollout.backend.tensor_parallel_size=2", "rollout.gpus_per_worker=2"], 2, MATRICES + 2 * NORMS),
        (["rollout.backend.tensor_parallel_size=4", "rollout.gpus_per_worker=4"], 4, MATRICES / 2 + 2 * NORMS),
    ],
)
def test_gpus_of_a_vllm_worker_share_its_weights(
    diffucoder: str, settings: list[str], size: int, each: float
) -> None:
    output = dry_run("diffucoder_8xh100_vllm", diffucoder, "rollout.workers=1", *settings).stdout
    worker = output.partition("of a rollout worker (vllm")[2]
    (weights,) = re.findall(r"│ weights +│ ([\d.]+) ", worker)
    assert float(weights) == pytest.approx(each / 1e9, abs=0.05)
    assert ("memory of each GPU of a rollout worker (vllm" in output) == (size > 1)
    assert (f"vllm on {size} GPUs: 10 completions" if size > 1 else "vllm: 10 completions") in output
    assert f"resources: {2 + size} GPU" in output


def test_the_share_of_a_gpu_that_vllm_takes_bounds_a_worker(diffucoder: str) -> None:
    share = "rollout.backend.gpu_memory_utilization=0.25"
    output = dry_run("diffucoder_8xh100_vllm", diffucoder, share).stdout
    assert "vllm does not start where less than 25% of a GPU is free" in output
    assert re.search(r"warning: \d+\.\d GB do not fit in 20 GB; change .*gpu_memory_utilization", output)


def test_a_model_that_vllm_cannot_share_is_warned_of(diffucoder: str) -> None:
    seven = ("rollout.backend.tensor_parallel_size=7", "rollout.gpus_per_worker=7")
    output = " ".join(dry_run("diffucoder_8xh100_vllm", diffucoder, *seven, exit_code=2).stdout.split())
    assert "warning: vllm cannot compute this model: 28 heads, 4 key-value heads" in output


def test_a_dry_run_says_that_this_machine_has_no_vllm_for_gpus(diffucoder: str) -> None:
    output = " ".join(dry_run("diffucoder_8xh100_vllm", diffucoder).stdout.split())
    assert "this machine cannot start the run: rollout." in output
    assert "cannot start the run" not in dry_run("quickstart").stdout


def test_another_model_that_is_not_here_is_named_and_not_fetched() -> None:
    output = " ".join(dry_run("diffucoder_8xh100", "model.path=someone/else").stdout.split())
    assert "memory: not known: someone/else is not on this machine" in output


def test_a_folder_without_a_configuration_is_not_called_absent(tmp_path: Path) -> None:
    output = " ".join(dry_run("quickstart", f"model.path={tmp_path}", exit_code=2).stdout.split())
    assert f"{tmp_path.name} has no config.json" in output


def test_runs_on_cpus_show_the_machines_memory_and_warn_of_nothing() -> None:
    output = dry_run("quickstart").stdout
    assert output.count("GB of the machine's memory") >= 2
    assert "do not fit" not in output


def stage_dry_run(stage: str, *arguments: str) -> str:
    found = CliRunner(env={"COLUMNS": "200"}).invoke(main, [stage, "--dry-run", *arguments])
    assert found.exit_code == 0, found.output
    return " ".join(found.stdout.split())


def test_the_papers_first_stage_takes_less_than_its_gpus_have_and_says_its_tokens() -> None:
    output = stage_dry_run("adapt", "diffucoder_adapt")
    assert all(20.0 < peak < MOST_GB for peak in peaks(output))
    assert peaks(output)
    assert "100,000 steps of 160 sequences of up to 4,096 tokens, 65.5B tokens in all" in output


def test_a_folder_that_an_earlier_stage_is_to_write_is_told_from_a_hub_name() -> None:
    output = stage_dry_run("pretrain", "diffucoder_pretrain")
    assert "there is no folder runs/diffucoder-adapt/model" in output
    assert peaks(stage_dry_run("pretrain", "diffucoder_pretrain", "model.path=Qwen/Qwen2.5-Coder-7B"))


def test_the_memory_of_a_gguf_file_is_that_of_its_folder(tmp_path: Path) -> None:
    causal = causal_folder(tmp_path / "causal")
    write_gguf(tmp_path / "model.gguf", tmp_path / "causal", causal)
    settings = ("smollm2_adapt", "data.context_length=32")
    file, folder = (
        stage_dry_run("adapt", *settings, f"model.path={tmp_path / n}") for n in ("model.gguf", "causal")
    )
    assert re.search(r"at most [\d.]+ GB", file)
    shown = [output.partition("memory of a rank")[2].partition("checks")[0] for output in (file, folder)]
    assert shown[0] == shown[1] != ""
    absent = stage_dry_run("adapt", *settings, "model.path=absent.gguf")
    assert "memory: not known: model.path 'absent.gguf': no such file" in absent
