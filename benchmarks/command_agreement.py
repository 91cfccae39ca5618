"""``couplet bench agreement``: what a recipe's approximations change, on its own model and held-out tasks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table

from common.config import Config, ConfigError
from common.models.prompts import PromptEncoder
from common.records import PromptGroup, Purpose, Sampler
from evaluation.agreement import Agreement, exact_counterpart, measure_agreement
from orchestrator.curriculum import load_data
from rollout_workers.engine import build_engine
from rollout_workers.requests import Request


def compare(config: Config, tasks: int) -> Agreement:
    """One completion for each of the first ``tasks`` held-out tasks (or training tasks, where none are held out).

    Raises ConfigError for a recipe that approximates nothing.
    """
    sampler = config.rollout.sampler()
    if not sampler.approximate:
        raise ConfigError(
            "rollout: approximates nothing, so there is nothing to compare; set rollout.approximate_cache and "
            "rollout.block_length, or rollout.decoder=threshold"
        )
    denoiser, engine = build_engine(config)
    encoder = PromptEncoder(config.model.path, config.data.chat_template)
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
    """The figures with what they mean."""
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
    """The figures and the sampler they belong to, as plain data."""
    return {"bench": "agreement", "sampler": config.rollout.sampler().model_dump(), **asdict(found)}


def _name(sampler: Sampler) -> str:
    cache = "" if sampler.approximate_cache == "none" else f", {sampler.approximate_cache} cache"
    return f"{sampler.decoder}{cache}"
