"""`couplet bench loop`: its cases are runs that can be made, and its table says what was measured."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from benchmarks.loop import Case, Measured, cases, view
from benchmarks.slow_reward import is_slow
from common.config import load_config

RECIPE = Path(__file__).parents[2] / "recipes/quickstart.yaml"


def test_every_case_is_a_valid_run(tmp_path: Path) -> None:
    wanted = [
        *cases(("balanced", "learner-bound", "rollout-bound"), (1, 2), (0, 1, 2)),
        Case("balanced", 1, 2, 9.0),
    ]
    assert len(wanted) == 3 * 2 * 3 + 1
    for case in wanted:
        config = load_config(RECIPE, case.settings(30, tmp_path / "run"))
        assert (config.rollout.workers, config.learner.ranks) == (case.processes, case.processes)
        assert config.admission.max_staleness == case.staleness
        assert config.run.steps is not None
        assert config.run.steps > 30
        assert bool(config.reward.functions) == bool(case.slow_seconds)


def test_one_task_in_so_many_is_slow() -> None:
    slow = sum(is_slow(f"task-{number}", 80) for number in range(8000))
    assert 60 < slow < 140


def test_the_table_compares_with_the_synchronous_run() -> None:
    found = [
        Measured(Case("balanced", 1, 0), 10.0, 1.0, 0.0, 0.4, None, 10.5),
        Measured(Case("balanced", 1, 1), 18.0, 0.6, 0.9, 0.1, 0.012, 19.8),
        Measured(Case("balanced", 1, 1, slow_seconds=6.0), 17.0, 0.62, 0.9, 0.1, None, None),
    ]
    console = Console(width=160, record=True)
    console.print(view(found))
    text = console.export_text()
    for shown in ("1.80", "0.90", "0.012", "19.8 (+10%)", "balanced, slow groups", "1.70"):
        assert shown in text
