"""Compiling the passes over the vocabulary: only where counts say that it pays, announced, and kept for later."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common.records import Sampler
from rollout_workers.compilation import WORTH_LOGITS, keep_compiled, scored_logits
from rollout_workers.kernels import Kernels
from rollout_workers.vocabulary import Vocabulary

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


@pytest.mark.parametrize(
    ("fields", "positions"),
    [
        ({}, 8 + 6 + 4 + 2),
        ({"block_length": 4}, 4 + 2 + 4 + 2),
        ({"decoder": "random"}, 8),
        ({"upstream": True}, 8 + 7 + 5 + 3),
    ],
)
def test_logits_are_counted_as_the_steps_score_them(fields: dict[str, object], positions: int) -> None:
    sampler = Sampler.model_validate({"denoising_steps": 4, "completion_length": 8} | fields)
    assert scored_logits(sampler, 100, 3) == 3 * 100 * positions


def test_few_logits_are_not_worth_compiling_for() -> None:
    said: list[str] = []
    vocabulary = Vocabulary.whole(100_000)
    kernels = Kernels.choose(vocabulary, torch.device("cpu"), logits=WORTH_LOGITS - 1, said=said.append)
    assert not kernels.compiled
    assert said == [], "nothing is compiled, so there is nothing to wait for"


def compiled_in(caches: Path, threads: int) -> Path:
    return caches / "couplet" / "compiled" / f"{threads}-threads"


def test_compiled_code_is_kept_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = keep_compiled()
    assert kept == compiled_in(tmp_path, torch.get_num_threads())
    assert kept.is_dir()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "chosen"))
    assert keep_compiled() == tmp_path / "chosen", "whoever names a folder has it"


def test_a_folder_that_the_compiler_has_named_itself_is_nobodys_choice(tmp_path: Path) -> None:
    """Importing it, as parts of transformers do, names a temporary folder in the environment."""
    program = (
        "import os, torch, torch._dynamo\n"
        "torch.set_num_threads(3)\n"
        f"assert os.environ['{VARIABLE}']\n"
        "from rollout_workers.compilation import keep_compiled\n"
        "print(keep_compiled())\n"
        f"print(os.environ['{VARIABLE}'])\n"
    )
    assert _run(program, {"XDG_CACHE_HOME": str(tmp_path)}) == [str(compiled_in(tmp_path, 3))] * 2


def test_processes_of_other_threads_have_a_folder_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = []
    for threads in (1, 2, 1):
        monkeypatch.setenv(VARIABLE, "")
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(keep_compiled())
    assert found[0] == found[2] != found[1]


def test_without_a_cache_folder_the_compilers_own_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert keep_compiled() is None


def _run(program: str, setting: dict[str, str]) -> list[str]:
    """Run it in a process of its own, with this setting of the environment; return the lines that it prints."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE} | setting
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=True, timeout=300)
    return done.stdout.splitlines()
