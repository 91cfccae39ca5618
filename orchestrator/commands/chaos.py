"""``couplet chaos``: a run that is struck by faults on its way, and the audit of what it leaves."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from common.config import ConfigError, load_config
from orchestrator.chaos.chaos import Chaos, ChaosPlan, ChaosResult, Struck, compare_with_undisturbed
from orchestrator.chaos.faults import FAULTS, chosen_faults
from orchestrator.commands.exits import CommandFailedError
from orchestrator.commands.new_folder import new_folder
from orchestrator.commands.numbers import SEED, FiniteRange
from orchestrator.commands.recipes import find_recipe
from orchestrator.interrupt import StopRequest


def _list_faults(ctx: click.Context, _: click.Parameter, given: bool) -> None:
    if given:
        table = Table("fault", "what it does")
        for name, fault in FAULTS.items():
            table.add_row(name, fault.summary)
        Console().print(table)
        ctx.exit()


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option(
    "--kills", default=10, show_default=True, type=click.IntRange(min=1), help="How many faults strike the run."
)
@click.option(
    "--faults",
    default="kill",
    show_default=True,
    metavar="NAME,...",
    help="Names of the faults, separated by commas, or all; --list shows them.",
)
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_faults,
    help="List the faults; start nothing.",
)
@click.option(
    "--compare",
    is_flag=True,
    help="Make the same run undisturbed afterwards, and compare the weights bit for bit.",
)
@click.option(
    "--seed", default=0, show_default=True, type=SEED, help="Keys the moments, the faults and who is struck."
)
@click.option(
    "--patience",
    default=300.0,
    show_default=True,
    type=FiniteRange(min=1),
    metavar="SECONDS",
    help="How long the run may take from a fault to its next new step, or to its end.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="A new folder for the run, its output and chaos.json [default: runs/chaos-<time>].",
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def chaos(
    recipe: Path,
    overrides: tuple[str, ...],
    kills: int,
    faults: str,
    compare: bool,
    seed: int,
    patience: float,
    output: Path | None,
    as_json: bool,
) -> None:
    """Strike a run with faults at random moments, and audit what it leaves.

    RECIPE and OVERRIDES are those of `couplet train`, which is started in a process of its own, with a Ray and by
    default a Redis of its own. Faults come spread over its steps. The run has to recover from each and to finish;
    at the end no group may be lost or trained twice, no message may be a dead letter, and no process or shared
    memory may be left behind. The exit code is 1 where that does not hold. The same seed draws the same faults, in
    the same steps, but not at the same microsecond.
    """
    console = Console()
    folder = new_folder(output, "chaos")
    plan = ChaosPlan(kills, chosen_faults(faults), seed, patience)
    settings = [  # a struck actor is no reason to give up, nor a message whose actors were struck
        "ray.dashboard=false",
        f"deadlines.restarts={2 * kills + 5}",
        f"streams.deliveries={2 * kills + 5}",
        *overrides,
    ]
    file = find_recipe(recipe)
    arguments, undisturbed = (
        [str(file), *settings, f"run.folder={json.dumps(str(folder / name))}"] for name in ("run", "undisturbed")
    )
    config = load_config(file, arguments[1:])
    if config.ray.address != "local":
        raise ConfigError("ray.address: faults strike processes of this machine; set it to local")
    if config.run.total_steps < 3:
        raise ConfigError("run.steps: faults come between the first step and the last; set it to 3 or more")
    if compare and config.admission.max_staleness:
        raise ConfigError(
            "admission.max_staleness: above 0 the weights depend on who was faster; set it to 0, or leave "
            "out --compare"
        )
    folder.mkdir(parents=True)

    def on_strike(struck: Struck) -> None:
        console.print(f"{struck.number:>4} of {kills}: {struck.fault}, {struck.victim}, after step {struck.step}")

    with StopRequest() as stop:
        result = Chaos(plan, config, arguments, folder / "run.log", on_strike, stop.check).run()
        if compare:
            console.print("making the run once more, undisturbed")
            allowed = result.seconds + plan.patience
            differences = compare_with_undisturbed(config, undisturbed, folder / "undisturbed", allowed)
            result.wrong.extend(differences)
            if not differences:
                console.print("it ends with the same weights, bit for bit")
    record = asdict(result)
    (folder / "chaos.json").write_text(json.dumps(record, indent=2) + "\n")
    console.print(_view(result))
    if as_json:
        click.echo(json.dumps(record))
    if result.wrong:
        raise CommandFailedError(f"{len(result.wrong)} findings of the audit, the first: {result.wrong[0]}")


def _view(result: ChaosResult) -> RenderableType:
    table = Table(
        title=f"{len(result.struck)} faults in {result.seconds:.0f} s; a step takes {result.step_seconds:.2f} s",
        caption="seconds from a fault to the next step that had not been reached before",
    )
    for name in ("fault", "struck", "times", "median s", "longest s"):
        table.add_column(name, justify="left" if name in ("fault", "struck") else "right")
    for key in sorted({(one.fault, one.victim) for one in result.struck}):
        struck = [one for one in result.struck if (one.fault, one.victim) == key]
        seconds = [one.seconds for one in struck if one.seconds is not None]
        times = (f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}") if seconds else ("", "")
        table.add_row(*key, str(len(struck)), *times)
    findings = [Text(f"- {one}") for one in result.wrong]
    verdict = (
        f"audit: {len(findings)} findings" if findings else "audit: nothing lost, nothing done twice, nothing left"
    )
    return Group(table, Text(verdict), *findings)
