"""``couplet plan``: how fast a run will be, what holds it up, and how its devices are best shared out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from common.config import Config, ConfigError, load_config
from common.flops import PEAKS
from common.models.config import ModelConfig
from common.models.folder import local_model_folder
from common.models.published import PUBLISHED
from learner.traffic import pass_tokens_sentence
from orchestrator.commands.numbers import FiniteRange
from orchestrator.commands.recipes import find_recipe
from orchestrator.planning.computed import Hardware, computed_times
from orchestrator.planning.measured import measured_times
from orchestrator.planning.model import forecast
from orchestrator.planning.pipeline import pipeline_of
from orchestrator.planning.splits import Split, best_splits, in_turns
from orchestrator.planning.types import Forecast, Pipeline, Times
from orchestrator.report.chart_numbers import short
from orchestrator.report.display import duration
from orchestrator.report.recorded_run import check_run_folder

_PARTS = tuple(field.name for field in fields(Times))
_SHARE = FiniteRange(min=0, max=1, min_open=True)


def _parse_times(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for one in given:
        name, _sign, text = one.partition("=")
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if name not in _PARTS or not 0 <= seconds < float("inf"):
            raise click.BadParameter(f"{one!r} is not PART=SECONDS; parts are {', '.join(_PARTS)}.")
        found[name] = seconds
    return found


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option(
    "--of",
    "measured",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of an earlier run, whose measured times are taken; those of a synchronous run are best.",
)
@click.option(
    "--gpu", type=click.Choice(list(PEAKS)), help="Compute the times from the model's operations on this GPU."
)
@click.option(
    "--utilization",
    default=0.4,
    show_default=True,
    type=_SHARE,
    help="Share of the GPU's peak that rollouts and updates reach: an assumption.",
)
@click.option(
    "--time",
    "times",
    multiple=True,
    callback=_parse_times,
    metavar="PART=SECONDS",
    help=f"Set the time of a part: {', '.join(_PARTS)}. May be repeated.",
)
@click.option(
    "--cores",
    type=FiniteRange(min=0, min_open=True),
    help="Cores that all processes share [default: this machine's for a run without GPUs].",
)
@click.option("--price", type=FiniteRange(min=0), help="Price of one device for an hour; adds what the run costs.")
@click.option(
    "--steps", default=40, show_default=True, type=click.IntRange(min=1), help="Learner steps that are modelled."
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def plan(
    recipe: Path,
    overrides: tuple[str, ...],
    measured: Path | None,
    gpu: str | None,
    utilization: float,
    times: Mapping[str, float],
    cores: float | None,
    price: float | None,
    steps: int,
    as_json: bool,
) -> None:
    """Forecast how fast a run will be, without starting it.

    RECIPE and OVERRIDES are those of `couplet train`. The times of the pipeline's parts come from an earlier run
    (--of), from the operations of the model (--gpu), or from you (--time). Shows samples per second, how busy
    every role is, the staleness of groups and what the run waits for, with this max_staleness and with others; and
    how rollout workers and learner ranks would best share the devices, split up between them or in turns.
    """
    config = load_config(find_recipe(recipe), overrides)
    on_gpus = config.rollout.gpus_per_worker > 0 or config.learner.gpus_per_rank > 0
    if cores is None and not on_gpus and config.ray.address == "local":
        cores = float(len(os.sched_getaffinity(0)))
    found = replace(_times(config, measured, gpu, utilization, times, cores), **times)
    pipeline = pipeline_of(config, cores)
    bounds = [0] if config.takes_turns else sorted({config.admission.max_staleness, 0, 1, 2})
    forecasts = {bound: forecast(_with_bound(pipeline, bound), found, steps) for bound in bounds}
    per_worker, per_rank = config.rollout.gpus_per_worker or 1.0, config.learner.gpus_per_rank or 1.0
    devices = config.learner.ranks * per_rank
    if not config.takes_turns:
        devices += config.rollout.workers * per_worker
    splits = best_splits(replace(pipeline, takes_turns=False), found, devices, per_worker, per_rank)
    shared = in_turns(pipeline, found, devices, max(per_worker, per_rank))
    console = Console()
    console.print("seconds: " + ", ".join(f"{name} {seconds:.3g}" for name, seconds in asdict(found).items()))
    console.print(_forecasts_view(forecasts, config.admission.max_staleness))
    unit = "GPUs" if on_gpus else "processes"
    console.print(_splits_view(splits, shared, devices, unit))
    here = forecasts[config.admission.max_staleness]
    console.print(f"bottleneck: {here.bottleneck}")
    console.print(pass_tokens_sentence(config.learner))
    record: dict[str, object] = {
        "times": asdict(found),
        "forecasts": {str(bound): asdict(one) for bound, one in forecasts.items()},
        "bottleneck": here.bottleneck,
        "splits": [asdict(split) for split in splits],
        "in_turns": asdict(shared),
    }
    if config.run.steps is not None:
        hours = config.run.steps * here.step_seconds / 3600
        cost = "" if price is None else f", which cost {hours * devices * price:,.2f} at {price:g} an hour each"
        console.print(f"{config.run.steps:,} steps: {duration(3600 * hours)} on {devices:g} {unit}{cost}")
        record |= {"hours": hours, "device_hours": hours * devices}
    if as_json:
        click.echo(json.dumps(record))


def _times(
    config: Config,
    measured: Path | None,
    gpu: str | None,
    utilization: float,
    given: Mapping[str, float],
    cores: float | None,
) -> Times:
    if measured is not None:
        check_run_folder(measured)
        made = load_config(measured / "config.yaml")
        found = measured_times(measured, made, cores)
        samples = (
            made.learner.groups_per_step * made.rollout.group_size * config.learner.ranks / made.learner.ranks
        )
        share = config.learner.groups_per_step * config.rollout.group_size / samples
        return replace(found, update=found.update * share)
    if gpu is not None:
        hardware = Hardware(PEAKS[gpu].bfloat16, utilization, utilization)
        return computed_times(config, _model(config.model.path), hardware)
    if not {"rollout", "update"} <= given.keys():
        raise ConfigError(
            "no times to plan with: name the folder of an earlier run (--of FOLDER) or a GPU (--gpu H100), or "
            "give at least --time rollout=SECONDS and --time update=SECONDS"
        )
    return Times(rollout=given["rollout"], update=given["update"])


def _model(path: str) -> ModelConfig:
    folder = local_model_folder(path)
    if folder is not None and (folder / "config.json").is_file():
        return ModelConfig.from_folder(folder)
    if path not in PUBLISHED:
        raise ConfigError(
            f"model.path {path}: its shape is not known here; name a folder with its config.json, or give times "
            "(--time)"
        )
    return PUBLISHED[path]


def _with_bound(pipeline: Pipeline, bound: int) -> Pipeline:
    """Return the pipeline with another ``max_staleness``, and what goes with it."""
    room = max(pipeline.max_in_flight, (bound + 1) * pipeline.groups_per_step)
    return replace(pipeline, max_staleness=bound, max_in_flight=room, in_order=bound == 0, between_steps=bound > 0)


def _forecasts_view(forecasts: Mapping[int, Forecast], chosen: int) -> Table:
    table = Table(title="by admission.max_staleness", title_justify="left")
    for name in ("K", "samples/s", "s a step", "rollout busy", "reward busy", "learner busy", "mean staleness"):
        table.add_column(name, justify="right")
    for bound, one in forecasts.items():
        table.add_row(
            f"{bound}{' *' if bound == chosen else ''}",
            short(one.samples_per_second),
            short(one.step_seconds),
            f"{one.rollout_busy:.0%}",
            f"{one.reward_busy:.0%}",
            f"{one.learner_busy:.0%}",
            f"{one.staleness:.2f}",
        )
    table.caption = "* as configured"
    return table


def _splits_view(splits: list[Split], shared: Split, devices: float, unit: str) -> Table:
    table = Table(title=f"best splits of {devices:g} {unit}", title_justify="left")
    for name in ("rollout workers", "learner ranks", "samples/s", "rollout busy", "learner busy"):
        table.add_column(name, justify="right")
    for split in (*splits, shared):
        one = split.forecast
        table.add_row(
            f"{split.rollout_workers}{' *' if split is shared else ''}",
            str(split.learner_ranks),
            short(one.samples_per_second),
            f"{one.rollout_busy:.0%}",
            f"{one.learner_busy:.0%}",
        )
    table.caption = "* all devices in turns: rollout.placement shared, K = 0"
    return table
