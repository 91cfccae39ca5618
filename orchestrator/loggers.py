"""Metric loggers beside the run folder and Prometheus: TensorBoard and W&B, each a package of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from textwrap import indent
from typing import Any, Protocol

import yaml

from common.config import Config, ConfigError, StageConfig, TelemetryConfig, dump_config

_FOLDER = "tensorboard"
#: What a table of samples shows, of the records in samples.jsonl.
_COLUMNS = ("step", "task_id", "family", "prompt", "completion", "reward", "verdicts")
#: Modes of W&B in which nothing is sent, so that nobody has to be logged in.
_OFFLINE = ("offline", "dryrun", "disabled")

Samples = Sequence[Mapping[str, Any]]


class MetricLogger(Protocol):
    """Take the metrics of steps under their keys in metrics.jsonl, and samples as samples.jsonl has them."""

    def log(self, metrics: Mapping[str, float], step: int) -> None: ...

    def log_samples(self, samples: Samples, step: int) -> None: ...

    def close(self) -> None: ...


class TensorBoardLogger:
    """Write event files in ``tensorboard/``; events after ``version`` are void: their steps are done again."""

    def __init__(self, config: Config | StageConfig, run_id: str, version: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(config.folder / _FOLDER, purge_step=version + 1)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        for key, value in metrics.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def log_samples(self, samples: Samples, step: int) -> None:
        for number, sample in enumerate(samples):
            parts = (indent(str(sample[part]), "    ") for part in ("prompt", "completion"))  # code in Markdown
            text = "\n\n".join([f"reward {sample['reward']}", *parts])
            self._writer.add_text(f"samples/{number}", text, step)

    def close(self) -> None:
        self._writer.close()


class WandbLogger:
    """Log to a W&B run of the run's id, continued when the run is; W&B's variables (WANDB_MODE, ...) apply.

    Raises ConfigError where W&B cannot begin the run.
    """

    def __init__(self, config: Config | StageConfig, run_id: str, version: int) -> None:
        import wandb

        settings = config.telemetry.wandb
        try:
            self._run: Any = wandb.init(
                project=settings.project,
                entity=settings.entity,
                group=settings.group,
                tags=settings.tags,
                name=run_id,
                id=run_id,
                resume="allow",
                dir=config.folder,
                config=yaml.safe_load(dump_config(config)),
            )
        except wandb.Error as error:
            raise ConfigError(
                f"telemetry.loggers: wandb cannot begin the run: {error}; mend it, set WANDB_MODE=offline, or "
                "leave wandb out"
            ) from error
        # W&B counts calls; a resumed run goes back, so curves are drawn over the learner's own count.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._run.log({**metrics, "step": step})

    def log_samples(self, samples: Samples, step: int) -> None:
        import wandb

        rows = [[_cell(sample.get(column)) for column in _COLUMNS] for sample in samples]
        self._run.log({"samples": wandb.Table(columns=list(_COLUMNS), data=rows), "step": step})

    def close(self) -> None:
        self._run.finish()


def _cell(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _check_wandb() -> None:
    """Check that W&B knows who logs, without a question. Raises ConfigError."""
    import wandb

    try:
        if wandb.setup().settings.mode in _OFFLINE or wandb.login(prompt=False, verify=False):
            return
        problem = "nobody is logged in here"
    except wandb.Error as error:
        problem = str(error)
    raise ConfigError(
        f"telemetry.loggers: wandb: {problem}; run `wandb login`, set WANDB_API_KEY, or set WANDB_MODE=offline to "
        "keep what it logs in the run's folder"
    )


_LOGGERS: dict[str, tuple[str, Callable[[Config | StageConfig, str, int], MetricLogger]]] = {
    "tensorboard": ("tensorboard", TensorBoardLogger),
    "wandb": ("wandb", WandbLogger),
}


def check_loggers(telemetry: TelemetryConfig) -> None:
    """Check that the loggers can be used. Raises ConfigError for a missing package, and W&B without a login."""
    for name in telemetry.loggers:
        package, _ = _LOGGERS[name]
        if find_spec(package) is None:
            raise ConfigError(
                f"telemetry.loggers: {name} is not installed; install it with pip install 'couplet-rl[{name}]'"
            )
    if "wandb" in telemetry.loggers:
        _check_wandb()


def open_loggers(config: Config | StageConfig, run_id: str, version: int) -> list[MetricLogger]:
    """Open the loggers of the recipe, for a run that stands at ``version``."""
    return [_LOGGERS[name][1](config, run_id, version) for name in config.telemetry.loggers]
