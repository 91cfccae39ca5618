"""``couplet plugins``: our own parts and those of installed packages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from common.plugins import KINDS
from orchestrator.commands.main import main


def install(folder: Path, entry: str) -> None:
    """A package with one entry point, as pip leaves it in a folder on the path."""
    info = folder / "losses-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: losses\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[couplet.plugins]\n{entry}\n")


def parts() -> list[dict[str, str]]:
    result = CliRunner().invoke(main, ["plugins", "--json"])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_every_kind_has_parts_of_ours() -> None:
    found = {(part["kind"], part["name"]) for part in parts() if part["package"] == "couplet-rl"}
    assert {kind for kind, _ in found} == {*KINDS, "rollout_backend"}
    assert {
        ("estimator", "coupled"),
        ("objective", "grpo"),
        ("decoder", "entropy"),
        ("task_format", "mbpp"),
        ("rollout_backend", "vllm"),
    } <= found


def test_parts_of_installed_packages_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "objective.hinge = losses.hinge:Hinge")
    monkeypatch.syspath_prepend(str(tmp_path))
    wanted = {"kind": "objective", "name": "hinge", "path": "losses.hinge:Hinge", "package": "losses"}
    assert wanted in parts()
    shown = CliRunner().invoke(main, ["plugins"]).stdout
    [line] = [line for line in shown.splitlines() if "hinge" in line]
    assert line.split() == ["objective", "hinge", "losses", "losses.hinge:Hinge"]


def test_a_part_of_no_known_kind_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "loss.hinge = losses:Hinge")
    monkeypatch.syspath_prepend(str(tmp_path))
    result = CliRunner().invoke(main, ["plugins"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: losses: the entry point 'loss.hinge'")
