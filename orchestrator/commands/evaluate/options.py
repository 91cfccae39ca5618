"""The options of `couplet evaluate` that say how completions are sampled, and the settings that they make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from common.config import ConfigError
from evaluation.settings import EvaluationSettings
from evaluation.subject import Subject

_Function = Callable[..., Any]
#: The options of samplers by the fields that they set.
_OF_BOTH = {
    "completion_length": "--max-tokens",
    "temperature": "--temperature",
    "top_p": "--top-p",
    "top_k": "--top-k",
}
_OF_DENOISING = {
    "decoder": "--decoder",
    "denoising_steps": "--denoising-steps",
    "block_length": "--block-length",
    "threshold": "--threshold",
}
_IN_CHAT = {"chat_template_file": "--chat-template-file", "system_prompt": "--system-prompt"}
_OPTIONS: tuple[Callable[[_Function], _Function], ...] = (
    click.option(
        "--samples", default=1, show_default=True, type=click.IntRange(min=1), help="Completions a task."
    ),
    click.option(
        "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Keys every random number."
    ),
    click.option(
        "--max-tokens",
        "--completion-length",
        "completion_length",
        default=512,
        show_default=True,
        type=click.IntRange(min=1),
        help="Tokens of a completion: at most, or exactly, where it is denoised.",
    ),
    click.option(
        "--temperature", default=0.0, show_default=True, type=click.FloatRange(min=0), help="0 is greedy."
    ),
    click.option(
        "--top-p",
        default=0.95,
        show_default=True,
        type=click.FloatRange(0, 1, min_open=True),
        help="Nucleus mass kept.",
    ),
    click.option(
        "--top-k", default=0, show_default=True, type=click.IntRange(min=0), help="Likeliest tokens kept; 0: all."
    ),
    click.option("--decoder", help="Of a masked-diffusion model [default: entropy]."),
    click.option(
        "--denoising-steps",
        type=click.IntRange(min=1),
        help="Of a masked-diffusion model [default: one a token].",
    ),
    click.option(
        "--block-length", type=click.IntRange(min=0), help="Of a masked-diffusion model [default: no blocks]."
    ),
    click.option(
        "--threshold",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        help="Of the threshold decoder [default: 0.9].",
    ),
    click.option("--chat-template", is_flag=True, help="Put tasks as questions in the model's chat template."),
    click.option(
        "--chat-template-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Jinja file of another template.",
    ),
    click.option(
        "--system-prompt",
        help="What the system turn says [default: You are a helpful assistant.]; empty: no turn.",
    ),
    click.option(
        "--answer-prefix", default="", help="What every answer in a chat begins with, given to the model."
    ),
    click.option("--stop", multiple=True, help="Completions end before this text; may be given several times."),
    click.option("--dtype", type=click.Choice(("float32", "bfloat16")), default="float32", show_default=True),
    click.option("--device", type=click.Choice(("auto", "cpu", "cuda")), default="auto", show_default=True),
    click.option("--threads", type=click.IntRange(min=1), help="CPU threads of the model [default: all cores]."),
    click.option(
        "--tensor-parallel-size",
        default=1,
        show_default=True,
        type=click.IntRange(min=1),
        help="GPUs that vllm splits the model over.",
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
        for field in denoising:
            raise ConfigError(f"{_OF_DENOISING[field]}: {subject.path} is a causal model; leave the option out")
    else:
        sampler |= {"denoising_steps": options["completion_length"]} | denoising
    if options["tensor_parallel_size"] > 1 and subject.engine != "vllm":
        raise ConfigError("--tensor-parallel-size: only vllm splits a model; give --engine vllm, or leave it out")
    if "" in options["stop"]:
        raise ConfigError("--stop: is empty, and every completion would end before it; leave it out")
    model = {"path": subject.path, "threads": options["threads"] or 0}
    try:
        return EvaluationSettings.model_validate(
            {
                "engine": subject.engine,
                "model": model | {name: options[name] for name in ("dtype", "device")},
                "prompts": _prompts(options),
                "sampler": sampler,
                **{name: options[name] for name in ("samples", "seed", "stop", "tensor_parallel_size")},
            }
        )
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error


def _prompts(options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of PromptSettings; an empty system prompt is none."""
    given = {field: options[field] for field in _IN_CHAT if options[field] is not None}
    if not options["chat_template"]:
        for field in given:
            raise ConfigError(f"{_IN_CHAT[field]}: is a part of a chat; give --chat-template, or leave it out")
    if "system_prompt" in given:
        given["system_prompt"] = given["system_prompt"] or None
    return given | {name: options[name] for name in ("chat_template", "answer_prefix")}


def _explain(error: ValidationError) -> str:
    """Say what the first problem is, with the option in place of the field."""
    message = error.errors()[0]["msg"].removeprefix("Value error, ")
    field, colon, rest = message.partition(": ")
    option = (_OF_BOTH | _OF_DENOISING).get(field)
    return f"{option}: {rest}" if colon and option else message
