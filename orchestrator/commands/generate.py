"""``couplet generate``: completions of one prompt, and the order in which their tokens were committed."""

from __future__ import annotations

import math
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Literal

import click
from rich.console import Console, Group, RenderableType
from rich.text import Text

from common.ar_ness import decode_order, global_ar_ness, local_ar_ness, never_committed
from common.config import Config, VllmBackendConfig, load_config
from common.models.folder import load_tokenizer
from common.models.prompts import PromptEncoder
from common.records import PromptGroup, Purpose, Rollout, RolloutGroup, Task
from common.weights.fence import VersionFence
from orchestrator.commands.recipes import find_recipe
from orchestrator.curriculum import load_data
from rollout_workers.backends.registry import build_backend
from rollout_workers.rollout_engine import RolloutEngine


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--prompt", help="Text to complete; - reads standard input [default: the first held-out task's].")
@click.option("--samples", default=2, show_default=True, type=click.IntRange(min=1), help="Completions.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each completion.")
def generate(recipe: Path, overrides: tuple[str, ...], prompt: str | None, samples: int, as_json: bool) -> None:
    """Complete a prompt, and show the order of decoding.

    RECIPE gives the model and the sampler; OVERRIDES are section.field=value, for example
    rollout.decoder=low_confidence.
    """
    config = load_config(find_recipe(recipe), overrides)
    if isinstance(config.rollout.backend, VllmBackendConfig):
        click.echo("starting vllm, which takes a while", err=True)
    group = complete(config, sys.stdin.read() if prompt == "-" else prompt, samples)
    if as_json:
        for rollout in group.rollouts:
            click.echo(rollout.model_dump_json())
    else:
        Console().print(generation_view(config, group))


def complete(config: Config, prompt: str | None, samples: int) -> RolloutGroup:
    """Sample completions of the prompt, or of the first held-out task's, by the recipe's model and sampler.

    Goes through the rollout worker's own code. Raises ModelError, ConfigError and RequestError.
    """
    group = PromptGroup(
        run_id="generate",
        purpose=Purpose.EVALUATION,
        index=0,
        seed=config.run.seed,
        task=_first_task(config) if prompt is None else _task(config, prompt),
        group_size=samples,
        min_version=0,
        sampler=config.rollout.sampler(),
    )
    fence = VersionFence()
    with fence.writing(0, 1.0):
        pass  # the loaded weights are version 0
    with closing(build_backend(config)) as backend:
        backend.prepare(config.rollout, samples, partial(click.echo, err=True))
        engine = RolloutEngine(
            "generate",
            backend.engine,
            PromptEncoder(config.model.path, config.data),
            fence,
            config.deadlines.step_seconds,
        )
        engine.check(group)
        engine.add(group)
        finished: list[RolloutGroup] = []
        while engine.has_unfinished:
            finished += engine.step()
    return finished[0]


def generation_view(config: Config, group: RolloutGroup) -> RenderableType:
    """The completions, their tokens shaded from the first committed (bright) to the last (dark), and figures."""
    tokenizer = load_tokenizer(config.model.path)
    begun = PromptEncoder(config.model.path, config.data).answer_prefix(group.prompt.task)
    parts: list[RenderableType] = [Text(group.prompt.task.prompt, style="bold")]
    for rollout in group.rollouts:
        tokens = [tokenizer.decode([token]) for token in rollout.completion_ids[: rollout.end]]
        parts += [
            Text(f"\nsample {rollout.sample}", style="dim"),
            Text(begun, style="bold") + _shaded(tokens, rollout),
            Text(_figures(rollout)),
        ]
    return Group(*parts)


def _shaded(tokens: list[str], rollout: Rollout) -> Text:
    last = max((step for step in rollout.step_map), default=0) or 1
    text = Text()
    for token, step in zip(tokens, rollout.step_map, strict=False):
        level = 255 - round(150 * step / last)
        text.append(token, style=f"rgb({level},{level},{max(0, 2 * level - 255)})")
    return text


def _figures(rollout: Rollout) -> str:
    order = decode_order(rollout.step_map[: rollout.text_tokens])
    executed, never = decode_order(rollout.executed_step_map), never_committed(rollout.executed_step_map)
    surprisal = -math.fsum(rollout.model_logprobs[: rollout.text_tokens]) / max(1, rollout.text_tokens)
    ended = "" if rollout.end < len(rollout.completion_ids) else ", no end of text"
    return (
        f"{rollout.text_tokens} tokens in {rollout.forwards} forward passes{ended}; {surprisal:.2f} nats a token; "
        f"AR-ness local {local_ar_ness(order):.2f}, global {global_ar_ness(order):.2f}; of all commits, after the "
        f"end too, {local_ar_ness(executed):.2f} and {global_ar_ness(executed, never=never):.2f}"
    )


def _task(config: Config, prompt: str) -> Task:
    """Make a task of a prompt; in a chat template it is a question, whose answer begins as answers do."""
    completion: Literal["fenced", "continuation"] = "fenced" if config.data.chat_template else "continuation"
    return Task(id="prompt", prompt=prompt, completion=completion, tests=())


def _first_task(config: Config) -> Task:
    train, held_out = load_data(config, [])
    return (held_out or train)[0]
