"""The stages one after the other, as docs/stages.md gives them, from a causal model on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, AutoTokenizer

from common.config import load_stage_config
from common.models.folder import load_tokenizer
from common.models.loading import load_model
from common.processes import die_with_parent
from orchestrator.commands.main import main
from tests.stage_runs import train_alone
from tests.system.conftest import REPOSITORY

_SECONDS = 240.0
_SHORT = ("ray.dashboard=false", "--plain")


def couplet(folder: Path, *words: str) -> str:
    """Run a command as a user does in ``folder``, and return what it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.commands.main", *words],
        cwd=folder,
        env={**os.environ, "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    try:
        output, _ = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"no end within {_SECONDS:.0f} s: {words}")
    assert process.returncode == 0, f"{words}:\n{output[-4000:]}"
    return output


def here(*words: str) -> str:
    """Run a command that starts no processes in this one, and return what it printed."""
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, f"{words}:\n{result.output[-4000:]}"
    return result.output


def summary(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return found


@pytest.mark.timeout(900)
def test_a_causal_model_goes_through_the_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    chain = tmp_path / "runs/tiny-chain"
    made = here("data", "tiny-chain", "--steps", "12")
    assert made.splitlines()[-1] == "next: couplet adapt tiny_chain/adapt"

    # Stage 1 without Ray: tests/deploy/test_end_to_end.py has a job with its command.
    settings = ("run.steps=12", "objective.annealing_steps=6", f"run.folder={chain / 'adapt'}")
    train_alone([load_stage_config(REPOSITORY / "recipes/tiny_chain/adapt.yaml", "adapt", settings)], 12)
    # The result is one of ours and, by name, stock architecture and tokenizer, one of transformers.
    ours = load_model(str(chain / "adapt/model"))
    stock = AutoModelForCausalLM.from_pretrained(chain / "adapt/model")
    assert torch.equal(ours.model.layers[0].mlp.up_proj.weight, stock.model.layers[0].mlp.up_proj.weight)
    causal = AutoTokenizer.from_pretrained(chain / "causal")
    assert len(load_tokenizer(str(chain / "adapt/model"))) == len(causal) + 1, "the mask token"

    # Stage 2 is a whole run in tests/system/test_stages.py; here it is planned, and stage 3 goes on from stage 1,
    # by its command.
    here("pretrain", "tiny_chain/pretrain", "--dry-run")
    from_adapt = "model.path=runs/tiny-chain/adapt/model"
    shown = couplet(tmp_path, "sft", "tiny_chain/sft", from_adapt, "run.epochs=0.5", *_SHORT)
    assert "held-out loss at step " in shown
    assert "couplet train tiny_chain/train model.path=runs/tiny-chain/sft/model" in shown
    assert summary(chain / "sft")["status"] == "finished"
    tuned = load_tokenizer(str(chain / "sft/model"))
    assert tuned.pad_token == "<|dlm_pad|>"
    losses = [summary(chain / "sft")[f"held_out_loss_{when}"] for when in ("before", "after")]
    assert losses[1] < losses[0]
    model = "model.path=runs/tiny-chain/sft/model"
    assert "forward passes" in here("generate", "tiny_chain/train", model, "--samples", "1")

    # Training by rewards is planned too: tests/system has whole runs of it, from such folders.
    here("train", "tiny_chain/train", "--dry-run")
    assert "</html>" in (chain / "sft/report.html").read_text()
