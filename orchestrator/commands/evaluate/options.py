"""The options of `couplet evaluate` that say how tasks are put and completions sampled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from common.config import ConfigError
from common.plugins import PluginError, plugin_path
from common.sampler import DECODERS
from evaluation.benchmark import AskedBenchmark
from evaluation.settings import SAMPLERS, Cell, EvaluationSettings
from evaluation.subject import Subject
from evaluation.templates import TEMPLATES, Template, template
from orchestrator.commands.evaluate.presets import PRESETS
from orchestrator.commands.evaluate.several import several
from orchestrator.commands.numbers import SEED, FiniteRange

_Function = Callable[..., Any]
#: The options of samplers by the fields that they set.
_OF_BOTH = {"completion_length": "--max-tokens", "top_p": "--top-p", "top_k": "--top-k"}
_OF_DENOISING = {"decoder": "--decoder", "block_length": "--block-length", "threshold": "--threshold"}
_IN_GRID = {"temperature": "--temperature", "denoising_steps": "--denoising-steps"}
_IN_CHAT = {"chat_template_file": "--chat-template-file", "system_prompt": "--system-prompt"}
#: What --extraction changes in a template's.
_EXTRACTIONS: dict[str, dict[str, Any]] = {
    "first": {"rule": "lenient", "block": "first"},
    "last": {"rule": "lenient", "block": "last"},
    "reward": {"rule": "reward", "trimmed": False},
}
_OPTIONS: tuple[Callable[[_Function], _Function], ...] = (
    click.option(
        "--preset",
        type=click.Choice(tuple(PRESETS)),
        help="The paper's protocol, or ours. It sets those of the options below that are not given.",
    ),
    several(
        "--template",
        "templates",
        of=click.STRING,
        default="plain",
        metavar="NAME,...",
        help=f"How tasks are put to the model: {', '.join(TEMPLATES)} [default: plain].",
    ),
    several(
        "--temperature",
        "temperatures",
        of=FiniteRange(min=0),
        default="0",
        metavar="T,...",
        help="Sampling temperature [default: 0, which is greedy].",
    ),
    several(
        "--denoising-steps",
        "denoising_steps",
        of=click.IntRange(min=1),
        metavar="S,...",
        help="Forward passes that write a completion; masked-diffusion models only [default: one for each token].",
    ),
    several(
        "--seeds",
        "--seed",
        "seeds",
        of=SEED,
        default="0",
        metavar="N,...",
        help="Seeds of all random numbers of sampling [default: 0].",
    ),
    click.option(
        "--samples",
        default=1,
        show_default=True,
        type=click.IntRange(min=1),
        help="Completions of each task in each combination of template, temperature, steps and seed.",
    ),
    click.option(
        "--max-tokens",
        "--completion-length",
        "completion_length",
        default=512,
        show_default=True,
        type=click.IntRange(min=1),
        help="The most tokens of a completion; a masked-diffusion model denoises exactly so many.",
    ),
    click.option(
        "--top-p",
        default=0.95,
        show_default=True,
        type=FiniteRange(0, 1, min_open=True),
        help="Sample from the likeliest tokens that have this probability together.",
    ),
    click.option(
        "--top-k",
        default=0,
        show_default=True,
        type=click.IntRange(min=0),
        help="Sample from so many likeliest tokens; 0: from all.",
    ),
    click.option(
        "--decoder",
        help="Which masked positions are written first: "
        f"{', '.join(DECODERS)}, or module:attribute; masked-diffusion models only [default: entropy].",
    ),
    click.option(
        "--block-length",
        type=click.IntRange(min=0),
        help="Tokens of a block, which is finished before the next begins; masked-diffusion models only "
        "[default: no blocks].",
    ),
    click.option(
        "--threshold",
        type=FiniteRange(0, 1, min_open=True, max_open=True),
        help="Probability from which the threshold decoder writes a token [default: 0.9].",
    ),
    click.option(
        "--chat-template-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Jinja file of a chat template, in place of the model's own.",
    ),
    click.option(
        "--system-prompt", help="System prompt of a chat, in place of the template's; empty: no system turn."
    ),
    click.option(
        "--answer-prefix", help="Text with which every answer in a chat begins, in place of the template's."
    ),
    click.option(
        "--extraction",
        type=click.Choice(tuple(_EXTRACTIONS)),
        help="Which code block of an answer is tested: the first or the last, fenced in any way or not at all, or "
        "the one that the reward of training reads [default: the template's].",
    ),
    click.option(
        "--stop",
        multiple=True,
        help="End completions before this text, in place of the template's; may be given several times.",
    ),
    click.option(
        "--dtype",
        type=click.Choice(("float32", "bfloat16")),
        default="float32",
        show_default=True,
        help="Type in which the model computes.",
    ),
    click.option(
        "--device",
        type=click.Choice(("auto", "cpu", "cuda")),
        default="auto",
        show_default=True,
        help="Where the model runs; auto takes a GPU if there is one.",
    ),
    click.option("--threads", type=click.IntRange(min=1), help="CPU threads of the model [default: all cores]."),
    click.option(
        "--tensor-parallel-size",
        default=1,
        show_default=True,
        type=click.IntRange(min=1),
        help="Split the model over so many GPUs; vllm only.",
    ),
)


def sampling_options(function: _Function) -> _Function:
    """Give a command the options that :func:`evaluation_settings` takes."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def evaluation_settings(subject: Subject, options: dict[str, Any]) -> EvaluationSettings:
    """Return the settings that the options ask for. Raises ConfigError, naming an option that does not fit."""
    sampler = {field: options[field] for field in _OF_BOTH}
    denoising = {field: options[field] for field in _OF_DENOISING if options[field] is not None}
    if subject.causal:
        for field in (*denoising, *(["denoising_steps"] if options["denoising_steps"] else [])):
            option = (_OF_DENOISING | _IN_GRID)[field]
            raise ConfigError(f"{option}: {subject.path} is a causal model; leave the option out")
    _check_decoder(options["decoder"])
    if options["tensor_parallel_size"] > 1 and subject.engine != "vllm":
        raise ConfigError("--tensor-parallel-size: only vllm splits a model; give --engine vllm, or leave it out")
    steps = [{}] if subject.causal else [{"denoising_steps": s} for s in _steps(options)]
    templates = [_template(name, options) for name in options["templates"]]
    model = {"path": subject.path, "threads": options["threads"] or 0}
    try:
        cells = [
            Cell.of(one.name, SAMPLERS.validate_python(sampler | denoising | {"temperature": t} | s), seed)
            for one, t, s, seed in product(templates, options["temperatures"], steps, options["seeds"])
        ]
        return EvaluationSettings.model_validate(
            {
                "engine": subject.engine,
                "model": model | {name: options[name] for name in ("dtype", "device")},
                "templates": templates,
                "cells": cells,
                **{name: options[name] for name in ("samples", "tensor_parallel_size")},
            }
        )
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error


def check_answer_prefix(options: dict[str, Any], asked: Iterable[AskedBenchmark]) -> None:
    """Raise ConfigError for an --answer-prefix that begins no answer."""
    for one in asked if options["answer_prefix"] else ():
        if not any(map(one.encoder.answer_prefix, one.tasks)):
            raise ConfigError(
                f"--answer-prefix: begins no answer of {one.name}, whose tasks are continued by the template "
                f"{one.template.name}; give --template chat, or leave the option out"
            )


def _steps(options: dict[str, Any]) -> Sequence[int]:
    return options["denoising_steps"] or (options["completion_length"],)


def _check_decoder(name: str | None) -> None:
    if name is not None and name not in DECODERS:
        try:
            plugin_path("decoder", name, DECODERS)
        except PluginError as error:
            raise ConfigError(f"--decoder: {error}") from error


def _template(name: str, options: dict[str, Any]) -> Template:
    """Return the template of that name with what the options change in it."""
    found = template(name)
    given = {field: options[field] for field in (*_IN_CHAT, "answer_prefix") if options[field] is not None}
    if not found.prompts.chat_template:
        for field in given.keys() & _IN_CHAT.keys():
            raise ConfigError(
                f"{_IN_CHAT[field]}: is a part of a chat, and the template {name} is none; give --template chat, "
                "or leave the option out"
            )
    if "system_prompt" in given:
        given["system_prompt"] = given["system_prompt"] or None
    if "" in options["stop"]:
        raise ConfigError("--stop: is empty, and every completion would end before it; leave it out")
    changed = {
        "prompts": found.prompts.model_copy(update=given),
        "stop": options["stop"] or found.stop,
        "extraction": found.extraction.model_copy(update=_EXTRACTIONS.get(options["extraction"], {})),
    }
    return found.model_copy(update=changed)


def _explain(error: ValidationError) -> str:
    """Say what the first problem is, with the option in place of the field."""
    options = _OF_BOTH | _OF_DENOISING | _IN_GRID
    first = error.errors()[0]
    field, colon, rest = first["msg"].removeprefix("Value error, ").partition(": ")
    if colon and field in options:
        for name, option in options.items():
            rest = rest.replace(name, option)
        return f"{options[field]}: {rest}"
    place = next((options[part] for part in reversed(first["loc"]) if part in options), None)
    return first["msg"] if place is None else f"{place}: {first['msg']}"
