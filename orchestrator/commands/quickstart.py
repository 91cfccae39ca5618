"""``couplet quickstart``: the whole loop, small enough for a laptop."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import click

from common.config import load_config
from orchestrator.commands.numbers import SEED
from orchestrator.commands.recipes import shipped_recipe
from orchestrator.commands.running import run

_CONTROL = "Control experiment: rewards are dealt out at random inside each group, so there is nothing to learn."


@click.command()
@click.option("--seed", type=SEED, default=0, show_default=True, help="Keys the tasks and every random number.")
@click.option("--steps", type=click.IntRange(min=1), help="Learner steps [default: the recipe's].")
@click.option("--shuffle-rewards", is_flag=True, help="Control experiment: rewards carry no information.")
@click.option("--rollout-workers", type=click.IntRange(min=1), help="[default: the recipe's]")
@click.option("--learner-ranks", type=click.IntRange(min=1), help="[default: the recipe's]")
@click.option("--run-folder", type=click.Path(path_type=Path), help="[default: runs/quickstart-<time>]")
@click.option("--plain", is_flag=True, help="Print lines instead of a live display.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
@click.argument("overrides", nargs=-1)
def quickstart(
    seed: int,
    steps: int | None,
    shuffle_rewards: bool,
    rollout_workers: int | None,
    learner_ranks: int | None,
    run_folder: Path | None,
    plain: bool,
    as_json: bool,
    overrides: tuple[str, ...],
) -> None:
    """Train on this machine's CPU, in minutes.

    This is the whole loop: rollouts, rewards from a sandbox, updates, and a report at the end. OVERRIDES are
    section.field=value, as for `couplet train`.
    """
    folder = run_folder or Path("runs") / f"quickstart-{datetime.now():%Y%m%d-%H%M%S}"
    settings = [
        f"run.folder={json.dumps(str(folder))}",
        f"run.seed={seed}",
        f"reward.shuffle={str(shuffle_rewards).lower()}",
        *([f"run.about={json.dumps(_CONTROL)}"] if shuffle_rewards else []),
    ]
    for field, value in (
        ("run.steps", steps),
        ("rollout.workers", rollout_workers),
        ("learner.ranks", learner_ranks),
    ):
        if value is not None:
            settings.append(f"{field}={value}")
    config = load_config(shipped_recipe("quickstart"), [*settings, *overrides])
    run(config, "never", plain, as_json)
