"""What a dry run checks: data, model, reward functions and loggers, as the run would start with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from common.config import Config, ConfigError, StageConfig, TelemetryConfig
from common.errors import NotHereError, UserError
from common.models.folder import is_hub_name, load_tokenizer, local_model_folder, model_folder
from learner.stages.corpus import check_sources
from learner.stages.corpus.hub import HUB
from learner.stages.starting_plan import is_gguf, starting_config
from orchestrator.curriculum import TaskCounts, count_tasks
from orchestrator.loggers import check_loggers
from orchestrator.preflight import check_adapters, check_algorithm, check_model
from orchestrator.report.text import clean
from reward_service.built_in import check_reward_functions
from sandbox.jail.slot import Libraries
from sandbox.types import SandboxUnavailable

_WEIGHTS = "*.safetensors"


@dataclass(frozen=True)
class Check:
    """A check: what was checked, and what was found or is the matter.

    What is ``not here`` may be where the run starts; what is ``wrong`` is so everywhere.
    """

    what: str
    state: Literal["good", "not here", "wrong"]
    found: str


def check_data(config: Config) -> tuple[Check, TaskCounts | None]:
    """Read the tasks that the run would load, and count them where that is possible; downloads nothing."""
    counts: list[TaskCounts] = []

    def read() -> str:
        counts.append(count_tasks(config))
        return f"{counts[0].train:,} training tasks, {counts[0].held_out:,} held out"

    return _checked("data", read), counts[0] if counts else None


def check_rest(config: Config) -> list[Check]:
    """Check what else a run of reinforcement learning would start with.

    The user's functions are imported by processes of their own, as in a run.
    """
    return [
        _checked("model", lambda: _model(config)),
        _checked("reward functions", lambda: _reward_functions(config)),
        _checked("libraries", lambda: _libraries(config)),
        _checked("loggers", lambda: _loggers(config.telemetry)),
    ]


def check_stage_inputs(config: StageConfig) -> list[Check]:
    """Check what the run of a supervised stage would start with; reads no documents, and downloads nothing."""
    return [
        _checked("data", lambda: _sources(config)),
        _checked("model", lambda: _starting_model(config)),
        _checked("loggers", lambda: _loggers(config.telemetry)),
    ]


def checks_table(checks: Sequence[Check]) -> Table:
    """Show the checks."""
    table = Table("input", "check", "found", title="checks", title_justify="left")
    colours = {"good": "green", "not here": "yellow", "wrong": "red"}
    for check in checks:
        table.add_row(check.what, Text(check.state, colours[check.state]), clean(check.found))
    return table


def raise_for(checks: Sequence[Check]) -> None:
    """Raise ConfigError where the run could not start anywhere."""
    wrong = [check.found for check in checks if check.state == "wrong"]
    if wrong:
        raise ConfigError(f"the run would not start: {'; '.join(wrong)}")


def _checked(what: str, check: Callable[[], str]) -> Check:
    try:
        return Check(what, "good", check())
    except NotHereError as error:
        return Check(what, "not here", str(error))
    except UserError as error:
        return Check(what, "wrong", str(error))


def _model(config: Config) -> str:
    check_algorithm(config)
    folder = _model_here(config.model.path)
    check_model(config, folder)
    load_tokenizer(str(folder))
    if not any(folder.glob(_WEIGHTS)):
        raise NotHereError(f"model.path: no weights ({_WEIGHTS}) in {folder}")
    return config.model.path


def _model_here(path: str) -> Path:
    """Return the folder of a model. Raises NotHereError for none on this machine."""
    folder = local_model_folder(path)
    if folder is not None:
        return folder
    if is_hub_name(path):
        raise NotHereError(f"model.path: {path} is not in the cache of the Hub; the run downloads it")
    if not path.startswith("builtin:"):
        raise NotHereError(f"model.path: there is no folder {path}")
    return model_folder(path)


def _reward_functions(config: Config) -> str:
    functions = config.reward.functions
    try:
        check_reward_functions(functions)
    except ConfigError as error:
        if config.reward.workers and config.ray.address == "local":
            raise
        raise NotHereError(f"{error}; the machines of the reward workers need it") from error
    return ", ".join(function.path for function in functions) or "none"


def _libraries(config: Config) -> str:
    reward = config.reward
    if reward.backend == "docker":
        return f"those of {reward.docker_image or 'an image of this interpreter'}"
    try:
        Libraries.at(reward.packages, reward.preload)
    except SandboxUnavailable as error:
        if reward.workers and config.ray.address == "local":
            raise
        raise NotHereError(f"reward.{error}; the machines of the reward workers need it") from error
    return str(reward.packages or "the standard library")


def _loggers(telemetry: TelemetryConfig) -> str:
    check_loggers(telemetry)
    return ", ".join(telemetry.loggers) or "none"


def _sources(config: StageConfig) -> str:
    paths = [source.path for source in config.data.sources]
    for path in paths:
        if not path.startswith((HUB, "builtin:")) and not Path(path).exists():
            raise NotHereError(f"data.sources {path}: there is no such file or folder")
    check_sources(config)
    return ", ".join(paths)


def _starting_model(config: StageConfig) -> str:
    check_adapters(config)
    path = config.model.path
    if is_gguf(path):
        if not Path(path).exists():
            raise NotHereError(f"model.path: there is no file {path}")
    else:
        _model_here(path)
    starting_config(config.model, config.stage, config.data.padding)
    return path
