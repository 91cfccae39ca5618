"""Chaos runs: when they strike, and what their audit finds. tests/system has whole ones."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from common.config import Config, load_config
from orchestrator.chaos.audit import audit
from orchestrator.chaos.comparison import differing_weights
from orchestrator.chaos.faults import FAULTS
from orchestrator.chaos.schedule import ROLES, schedule
from orchestrator.commands.main import main

RECIPE = Path(__file__).parents[2] / "recipes/quickstart.yaml"
STEPS, GROUPS = 4, 2

Records = dict[str, list[dict[str, Any]]]


@pytest.mark.parametrize(("strikes", "steps"), [(1, 3), (7, 40), (100, 200), (50, 5)])
def test_strikes_are_spread_over_all_steps_but_the_first_and_the_last(strikes: int, steps: int) -> None:
    found = schedule(strikes, steps, ["kill", "stop"], seed=3)
    moments = [one.step + one.share for one in found]
    assert [one.number for one in found] == list(range(1, strikes + 1))
    assert moments == sorted(moments)
    width = (steps - 2) / strikes
    for number, moment in enumerate(moments):
        assert 1 + number * width <= moment <= 1 + (number + 1) * width
    assert all(0 <= one.share < 1 for one in found)


def test_faults_and_roles_come_equally_often() -> None:
    found = schedule(36, 100, ["kill", "stop", "pause"], seed=0)
    assert set(Counter((one.fault, one.role) for one in found).values()) == {4}
    assert {one.role for one in found} == set(ROLES)
    assert found == schedule(36, 100, ["kill", "stop", "pause"], seed=0)
    assert found != schedule(36, 100, ["kill", "stop", "pause"], seed=1)


def test_a_run_too_short_to_be_struck_is_refused() -> None:
    with pytest.raises(ValueError, match="2 steps"):
        schedule(1, 2, ["kill"], seed=0)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(
        RECIPE, [f"run.folder={tmp_path}", f"run.steps={STEPS}", f"learner.groups_per_step={GROUPS}"]
    )


def records() -> Records:
    """What a run leaves in which all went well: steps 1 to 4, two groups each."""
    metrics = [
        {
            "step": step,
            "ledger/admitted": GROUPS * min(step + 1, STEPS),
            "ledger/trained": GROUPS * step,
            "ledger/filtered": 0,
            "ledger/dropped": 0,
            "ledger/in_flight": GROUPS * (min(step + 1, STEPS) - step),
        }
        for step in range(1, STEPS + 1)
    ]
    groups = [{"step": step, "trained": [GROUPS * step - 2, GROUPS * step - 1]} for step in range(1, STEPS + 1)]
    return {"metrics": metrics, "groups": groups}


def write(folder: Path, found: Records) -> None:
    for name, lines in found.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_whole_run_passes_its_audit(config: Config) -> None:
    write(config.folder, records())
    assert audit(config.folder, config) == []


def lose_a_step(found: Records) -> None:
    del found["metrics"][1]


def do_a_step_twice(found: Records) -> None:
    found["metrics"].insert(1, found["metrics"][0])


def lose_a_group(found: Records) -> None:
    for line in found["metrics"][2:]:
        line["ledger/admitted"] += 1
        line["ledger/dropped"] += 1
    found["groups"][3]["trained"] = [6, 8]


def unbalance(found: Records) -> None:
    found["metrics"][2]["ledger/trained"] -= 1


def leave_in_flight(found: Records) -> None:
    found["metrics"][-1]["ledger/admitted"] += 1
    found["metrics"][-1]["ledger/in_flight"] += 1


def train_twice(found: Records) -> None:
    found["groups"][2]["trained"] = [1, 5]


def train_less(found: Records) -> None:
    found["groups"][2]["trained"] = [4]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lose_a_step, "not the steps 1 to 4"),
        (do_a_step_twice, "not the steps 1 to 4"),
        (lose_a_group, "1 groups were lost"),
        (unbalance, "step 3: the ledger does not balance"),
        (leave_in_flight, "none in flight"),
        (train_twice, "groups trained twice: 1"),
        (train_less, "step 3: 1 groups trained"),
    ],
)
def test_the_audit_finds(config: Config, damage: Callable[[Records], None], said: str) -> None:
    found = records()
    damage(found)
    write(config.folder, found)
    assert any(said in line for line in audit(config.folder, config))


def test_filtered_groups_are_accounted_for(config: Config) -> None:
    found = records()
    for line in found["metrics"][1:]:
        line["ledger/admitted"] += 1
        line["ledger/filtered"] += 1
    found["groups"][3]["trained"] = [6, 8]  # group 7 was filtered, and another made up for it
    write(config.folder, found)
    assert audit(config.folder, config) == []
    found["groups"][3]["trained"] = [6, 7, 8]
    write(config.folder, found)
    assert audit(config.folder, config)


def test_weights_are_compared_bit_for_bit(tmp_path: Path) -> None:
    same = {"a": torch.tensor([0.0, float("nan")]), "b": torch.ones(2, dtype=torch.bfloat16)}
    for name, tensors in {
        "one": same,
        "two": same,
        "sign": same | {"a": torch.tensor([-0.0, float("nan")])},
        "less": {"a": same["a"]},
    }.items():
        (tmp_path / name / "model").mkdir(parents=True)
        save_file(tensors, tmp_path / name / "model/model.safetensors")
    assert differing_weights(tmp_path / "one", tmp_path / "two") == []
    assert differing_weights(tmp_path / "one", tmp_path / "sign") == ["a"]
    assert differing_weights(tmp_path / "less", tmp_path / "one") == ["b"]


def couplet(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["chaos", *arguments])


def test_faults_are_listed() -> None:
    output = couplet("--list").output
    assert all(name in output for name in FAULTS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--faults", "kill,earthquake"], "earthquake: no such fault; those are kill, stop"),
        (["run.steps=2"], "run.steps"),
        (["ray.address=auto"], "ray.address"),
        (["--compare", "admission.max_staleness=1"], "admission.max_staleness"),
        (["--output", "."], "exists already"),
    ],
)
def test_what_cannot_be_struck_is_refused(arguments: list[str], told: str) -> None:
    result = couplet("quickstart", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert told in result.stderr
