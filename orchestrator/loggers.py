"""Metric loggers beside the run folder and Prometheus: TensorBoard and W&B, each a package of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

from common.config import Config, ConfigError, StageConfig, dump_config

_FOLDER = "tensorboard"


class MetricLogger(Protocol):
    """Take the metrics of steps under their keys in metrics.jsonl."""

    def log(self, metrics: Mapping[str, float], step: int) -> None: ...

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

    def close(self) -> None:
        self._writer.close()


class WandbLogger:
    """Log to a W&B run of the run's id, continued when the run is; W&B's variables (WANDB_MODE, ...) apply."""

    def __init__(self, config: Config | StageConfig, run_id: str, version: int) -> None:
        import wandb
        import yaml

        self._run: Any = wandb.init(
            project="couplet",
            name=run_id,
            id=run_id,
            resume="allow",
            dir=config.folder,
            config=yaml.safe_load(dump_config(config)),
        )
        # W&B counts calls; a resumed run goes back, so curves are drawn over the learner's own count.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._run.log({**metrics, "step": step})

    def close(self) -> None:
        self._run.finish()


_LOGGERS: dict[str, tuple[str, Callable[[Config | StageConfig, str, int], MetricLogger]]] = {
    "tensorboard": ("tensorboard", TensorBoardLogger),
    "wandb": ("wandb", WandbLogger),
}


def check_loggers(names: Sequence[str]) -> None:
    """Check that the loggers are installed. Raises ConfigError for one whose package is missing."""
    for name in names:
        package, _ = _LOGGERS[name]
        if find_spec(package) is None:
            raise ConfigError(
                f"telemetry.loggers: {name} is not installed; install it with pip install 'couplet-rl[{name}]'"
            )


def open_loggers(config: Config | StageConfig, run_id: str, version: int) -> list[MetricLogger]:
    """Open the loggers of the recipe, for a run that stands at ``version``."""
    return [_LOGGERS[name][1](config, run_id, version) for name in config.telemetry.loggers]
