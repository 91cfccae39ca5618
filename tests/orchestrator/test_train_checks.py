"""Checks before a run starts or writes anything."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rich.console import Console

from common.config import ConfigError, load_config
from orchestrator.report.display import Display
from orchestrator.train import train

QUICKSTART = Path(__file__).parents[2] / "recipes/quickstart.yaml"


def test_adapters_without_peft_are_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    config = load_config(QUICKSTART, [f"run.folder={tmp_path / 'run'}", "learner.lora={}"])
    with pytest.raises(ConfigError, match=r"learner.lora: needs peft; install it with pip"):
        train(config, "never", Display(Console(quiet=True)))
    assert not (tmp_path / "run").exists()
