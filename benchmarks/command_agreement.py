"""``couplet bench agreement``: what a recipe's approximations change, on its own model and held-out tasks."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from common.config import Config, ConfigError, load_config
from common.models.prompts import PromptEncoder
from common.records import PromptGroup, Purpose, Sampler
from evaluation.agreement import Agreement, exact_counterpart, measure_agreement
from orchestrator.commands.recipes import find_recipe
from orchestrator.curriculum import load_data
from rollout_workers.engine import build_engine
from rollout_workers.requests import Request


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--tasks", default=64, show_default=True, type=click.IntRange(min=1), help="Prompts to complete.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def agreement(recipe: Path, overrides: tuple[str, ...], tasks: int, as_json: bool) -> None:
    """Compare an approximate sampler with the exact.

    Measures how far the sampler of RECIPE is from the exact one, on its model and held-out tasks. OVERRIDES are
    section.field=value.
    """
    config = load_config(find_recipe(recipe), overrides)
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
            "rollout: approximates nothing, so there is nothing to compare; set rollout.approximate_cache and "
            "rollout.block_length, or rollout.decoder=threshold"
        )
    denoiser, engine = build_engine(config)
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
            sampler=sampler,
        )
        requests.append(Request(encoder.encode(task), group.noise_key(0)))
    return measure_agreement(engine, denoiser, requests, sampler)


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
    return f"{sampler.decoder}{cache}"
