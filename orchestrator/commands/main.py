"""The ``couplet`` command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.command import bench
from common.config import Config, load_config
from orchestrator.commands.analyze import analyze
from orchestrator.commands.data.command import data
from orchestrator.commands.report import report
from orchestrator.commands.sandbox import sandbox_command
from orchestrator.commands.score.command import score
from orchestrator.commands.serve_rewards import serve_rewards

_CONTROL = "Control experiment: rewards are dealt out at random inside each group, so there is nothing to learn."
_RECIPES = Path(__file__).parents[2] / "recipes"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="couplet-rl")
def main() -> None:
    """Reinforcement learning for masked-diffusion code models."""


main.add_command(analyze)
main.add_command(bench)
main.add_command(data)
main.add_command(report)
main.add_command(sandbox_command)
main.add_command(score)
main.add_command(serve_rewards)


@main.command()
@click.option("--seed", default=0, show_default=True, help="Keys the tasks and every random number.")
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
    """The whole loop on this machine's CPU, in minutes, with a report at the end.

    OVERRIDES are section.field=value, as for `couplet train`.
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
    with _explained_errors():
        config = load_config(_RECIPES / "quickstart.yaml", [*settings, *overrides])
        _run(config, "never", plain, as_json)


@main.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Print configuration, actors and resources; start nothing.")
@click.option(
    "--resume", default="never", show_default=True, metavar="auto|never|PATH", help="Go on from a checkpoint."
)
@click.option("--plain", is_flag=True, help="Print lines instead of a live display.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def train(
    recipe: Path, overrides: tuple[str, ...], dry_run: bool, resume: str, plain: bool, as_json: bool
) -> None:
    """Train from RECIPE, a YAML file; OVERRIDES are section.field=value."""
    with _explained_errors():
        config = load_config(_find_recipe(recipe), overrides)
        if dry_run:
            from orchestrator.commands.plan import plan_view

            Console().print(plan_view(config))
        else:
            _run(config, resume, plain, as_json)


@main.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--prompt", help="Text to complete; - reads standard input [default: the first held-out task's].")
@click.option("--samples", default=2, show_default=True, type=click.IntRange(min=1), help="Completions.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each completion.")
def generate(recipe: Path, overrides: tuple[str, ...], prompt: str | None, samples: int, as_json: bool) -> None:
    """Complete a prompt with RECIPE's model and sampler, and show the order of decoding.

    OVERRIDES are section.field=value, for example rollout.decoder=low_confidence.
    """
    with _explained_errors():
        config = load_config(_find_recipe(recipe), overrides)
        from orchestrator.commands.generate import generate as complete
        from orchestrator.commands.generate import generation_view

        group = complete(config, sys.stdin.read() if prompt == "-" else prompt, samples)
        if as_json:
            for rollout in group.rollouts:
                click.echo(rollout.model_dump_json())
        else:
            Console().print(generation_view(config, group))


@bench.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--tasks", default=64, show_default=True, type=click.IntRange(min=1), help="Prompts to complete.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def agreement(recipe: Path, overrides: tuple[str, ...], tasks: int, as_json: bool) -> None:
    """How far RECIPE's approximate sampler is from the exact one, on its model and held-out tasks."""
    with _explained_errors():
        config = load_config(_find_recipe(recipe), overrides)
        from benchmarks import command_agreement as probe

        found = probe.compare(config, tasks)
        Console().print(probe.agreement_view(config, found))
        if as_json:
            click.echo(json.dumps(probe.as_record(config, found)))


@main.command("warm-up")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True)
@click.option("--steps", default=1600, show_default=True, type=click.IntRange(min=1))
def warm_up_command(folder: Path, seed: int, steps: int) -> None:
    """Train the quick start's weak starting model from nothing into FOLDER (minutes)."""
    from rich.progress import Progress

    from learner.warm_start.synthetic import generate
    from learner.warm_start.warm_up import WarmUp, warm_up

    tasks = generate(seed, train=2000, held_out=200).train
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("supervised denoising on noisy solutions", total=steps)

        def advance(step: int, loss: float) -> None:
            bar.update(task, completed=step, description=f"supervised denoising, loss {loss:.3f}")

        warm_up(tasks, folder, WarmUp(seed=seed, steps=steps), advance)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def doctor(as_json: bool) -> None:
    """What this machine can and cannot run, and how to fix it."""
    from orchestrator.commands.doctor import command as checks

    results = checks.check()
    if as_json:
        click.echo(checks.as_json(results))
    else:
        Console().print(checks.render(results))
    sys.exit(checks.worst(results))


def _run(config: Config, resume: str, plain: bool, as_json: bool) -> None:
    from orchestrator.report.display import open_display
    from orchestrator.report.summary import summary_view
    from orchestrator.run_folder import read_records
    from orchestrator.train import train as run_training

    console = Console()
    with open_display(console, plain) as display:
        summary = run_training(config, resume, display)
    evaluations = read_records(config.folder, "evaluations")
    report = config.folder / "report.html"
    if len(evaluations) > 1:
        console.print(summary_view(evaluations[0], evaluations[-1], summary, report))
    else:
        console.print(f"report: {report}")
    if as_json:
        click.echo(json.dumps(summary))


def _find_recipe(recipe: Path) -> Path:
    """The file itself, or a recipe of that name that came with the package."""
    shipped = _RECIPES / recipe.name
    return shipped if not recipe.exists() and recipe.parent in (Path(), Path("recipes")) else recipe


@contextmanager
def _explained_errors() -> Iterator[Any]:
    """One clear message; exit code 2 for what the user can mend, 1 for a run that gave up, 128 + signal number."""
    from orchestrator.commands.errors import GAVE_UP, MENDABLE
    from orchestrator.interrupt import Interrupted

    try:
        yield
    except MENDABLE as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except GAVE_UP as error:
        click.echo(f"error: the run gave up: {error}", err=True)
        sys.exit(1)
    except Interrupted as error:
        click.echo(f"stopped by {error}; everything it started is stopped too", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
