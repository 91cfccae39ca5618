"""``couplet bench agreement``: what a recipe's approximations change, on its own model and held-out tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from common.config import Config, ConfigError, load_config
from common.models.config import ModelConfig
from common.models.prompts import PromptEncoder
from common.models.published import PUBLISHED
from common.records import PromptGroup, Purpose, Sampler
from evaluation.agreement import Agreement, exact_counterpart, measure_agreement
from evaluation.calibration import Calibrated, calibrate
from orchestrator.commands.numbers import FiniteRange
from orchestrator.commands.recipes import find_recipe
from orchestrator.curriculum import load_data
from rollout_workers.engine import build_denoiser, build_engine
from rollout_workers.requests import Request

#: The shape that operations are counted at beside the recipe's own.
_LARGE = "apple/DiffuCoder-7B-Base"
_LEGEND = (
    "KL: mean of KL(approximate || exact) over the committed tokens, in nats, of the model at temperature 1. "
    "log ratio: mean of log exact - log approximate of these tokens. FLOPs: of matrix products, for what was "
    "computed here (rows, pairs of query and key, rows scored) at each shape of model, the checks for locking "
    "included. A bound is on the change of one row in one step; pick the largest whose KL you accept."
)


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--tasks", default=64, show_default=True, type=click.IntRange(min=1), help="Prompts to complete.")
@click.option(
    "--locking",
    "bounds",
    multiple=True,
    type=FiniteRange(min=0, min_open=True),
    help="Try this rollout.approximate_locking; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def agreement(
    recipe: Path, overrides: tuple[str, ...], tasks: int, bounds: tuple[float, ...], as_json: bool
) -> None:
    """Compare an approximate sampler with the exact.

    Measures how far the sampler of RECIPE is from the exact one, on its model and held-out tasks. OVERRIDES are
    section.field=value. With --locking, a table of bounds: what each costs in nats and saves in operations.
    """
    config = load_config(find_recipe(recipe), overrides)
    if bounds:
        calibrated, shapes = calibrate_locking(config, tasks, bounds)
        Console().print(calibration_view(calibrated, shapes))
        if as_json:
            click.echo(json.dumps(calibration_record(calibrated, shapes)))
        return
    found = compare(config, tasks)
    Console().print(agreement_view(config, found))
    if as_json:
        click.echo(json.dumps(as_record(config, found)))


def compare(config: Config, tasks: int) -> Agreement:
    """Complete each of the first ``tasks`` held-out tasks once by either sampler.

    Where none are held out, these are training tasks. Raises ConfigError for a recipe that approximates nothing.
    """
    sampler = config.rollout.sampler()
    if not sampler.approximate:
        raise ConfigError(
            "rollout: approximates nothing, so there is nothing to compare; set rollout.approximate_locking, "
            "rollout.approximate_cache and rollout.block_length, or rollout.decoder=threshold"
        )
    denoiser, engine = build_engine(config)
    return measure_agreement(engine, denoiser, _requests(config, tasks), sampler)


def calibrate_locking(
    config: Config, tasks: int, bounds: Sequence[float]
) -> tuple[list[Calibrated], dict[str, ModelConfig]]:
    """Measure every bound of locking, and first the recipe's own sampler where it is approximate.

    Returns the shapes, too, that operations are counted at: the recipe's own and that of a model of 7 B.
    """
    sampler = config.rollout.sampler()
    exact = exact_counterpart(sampler)
    locking = [Sampler.model_validate(exact.model_dump() | {"approximate_locking": bound}) for bound in bounds]
    denoiser, kernels = build_denoiser(config)
    found = calibrate(
        denoiser,
        kernels,
        config.rollout.batch_tokens,
        _requests(config, tasks),
        [sampler, *locking] if sampler.approximate else locking,
    )
    return found, {"this model": denoiser.config, _LARGE: PUBLISHED[_LARGE]}


def calibration_view(found: Sequence[Calibrated], shapes: Mapping[str, ModelConfig]) -> Group:
    """Lay out what every sampler costs and saves."""
    table = Table(title="Beside the exact sampler, on the same prompts with the same random numbers")
    table.add_column("sampler")
    for title in ("KL", "log ratio", "same texts", "same tokens", *(f"FLOPs of {name}" for name in shapes)):
        table.add_column(title, justify="right")
    for each in found:
        table.add_row(
            _name(each.sampler),
            f"{each.kl:.5f}",
            f"{each.log_ratio:+.5f}",
            f"{each.same_texts:.1%}",
            f"{each.same_tokens:.1%}",
            *(f"{each.saving(shape):.2f}x fewer" for shape in shapes.values()),
        )
    return Group(table, Text(_LEGEND, style="dim"))


def calibration_record(found: Sequence[Calibrated], shapes: Mapping[str, ModelConfig]) -> dict[str, Any]:
    """Return the figures as plain data."""
    return {
        "bench": "agreement",
        "samplers": [
            {
                "sampler": each.sampler.model_dump(),
                "kl": each.kl,
                "log_ratio": each.log_ratio,
                "same_texts": each.same_texts,
                "same_tokens": each.same_tokens,
                "saving": {name: each.saving(shape) for name, shape in shapes.items()},
            }
            for each in found
        ],
    }


def _requests(config: Config, tasks: int) -> list[Request]:
    encoder = PromptEncoder(config.model.path, config.data)
    train, held_out = load_data(config, [])
    requests = []
    for index, task in enumerate((held_out or train)[:tasks]):
        group = PromptGroup(
            run_id="agreement",
            purpose=Purpose.EVALUATION,
            index=index,
            seed=config.run.seed,
            task=task,
            group_size=1,
            min_version=0,
            sampler=config.rollout.sampler(),
        )
        requests.append(Request(encoder.encode(task), group.noise_key(0)))
    return requests


def agreement_view(config: Config, found: Agreement) -> Table:
    """Lay the figures out with what they mean."""
    sampler = config.rollout.sampler()
    exact = exact_counterpart(sampler)
    table = Table(title=f"{_name(sampler)} beside exact {_name(exact)}, {found.completions} completions")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("texts that are the same", f"{found.same_texts:.1%}")
    table.add_row("tokens that are the same", f"{found.same_tokens:.1%}")
    table.add_row("recorded against exact log-probability, nats a token", f"{found.logprob_gap:.5f}")
    table.add_row(
        "forward passes a completion, exact / approximate",
        f"{found.exact_forwards:.1f} / {found.approximate_forwards:.1f}",
    )
    table.add_row("seconds, exact / approximate", f"{found.exact_seconds:.2f} / {found.approximate_seconds:.2f}")
    return table


def as_record(config: Config, found: Agreement) -> dict[str, Any]:
    """Return the figures and the sampler they belong to, as plain data."""
    return {"bench": "agreement", "sampler": config.rollout.sampler().model_dump(), **asdict(found)}


def _name(sampler: Sampler) -> str:
    cache = "" if sampler.approximate_cache == "none" else f", {sampler.approximate_cache} cache"
    locking = f", locking below {sampler.approximate_locking:g} nats" if sampler.approximate_locking else ""
    return f"{sampler.decoder}{cache}{locking}"
