"""The run, its model and data, and what surrounds it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from common.config.base import ConfigError, Name, NonNegative, Positive, Rate, Section, Seed, Share
from common.config.environment import check_reference, from_environment, names_variable
from common.config.task_source import TaskSource, TaskSources
from common.numbers import LARGEST_NUMBER
from common.sampler import Temperature


class RunConfig(Section):
    name: Name = "couplet"
    """Names the run; its folder is ``runs/<name>`` unless ``folder`` is set."""
    id: Name | None = None
    """Names the run's streams, actors and series; without one it is ``name`` and eight random digits. Set it where
    others must know it beforehand, as ``couplet serve-rewards --run-id`` does."""
    folder: Path | None = None
    """Where everything the run produces goes."""
    about: str = ""
    """What the run shows and what it does not, in a sentence or two; printed first and put into the report."""
    seed: Seed = 0
    """Keys every random number of the run."""
    steps: Positive | None = None
    """Learner steps (weight versions) to train. A run is given either these or ``epochs``."""
    epochs: Rate | None = None
    """Times that every training task is trained on, in place of ``steps``: the run ends before the step that would
    go beyond. Counts the tasks that were loaded, without those that ``data.max_prompt_tokens`` leaves out."""
    keep_best: bool = False
    """Export the weights of the best held-out evaluation so far to ``best/`` in the run's folder."""

    @model_validator(mode="after")
    def _has_one_length(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("steps: given beside epochs; a run has one length, so leave one of the two out")
        return self

    @property
    def total_steps(self) -> int:
        """Learner steps of the run, once they are known: those of ``epochs`` depend on the tasks.

        Raises ConfigError (:mod:`orchestrator.run_length` computes them before anything is started).
        """
        if self.steps is None:
            raise ConfigError("run.steps: not known; give run.steps, or run.epochs to `couplet train`")
        return self.steps


class ModelSection(Section):
    path: str
    """A model folder or Hugging Face name; ``builtin:quickstart`` is the shipped warm start."""
    threads: NonNegative = 0
    """CPU threads of each process that runs the model; 0 means all cores it may use."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` takes CUDA where the process sees a GPU."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute type of rollouts and learner alike; ``learner.weights_dtype`` says how trained weights are held."""


class PromptSettings(Section):
    """How the text of a task becomes what the model reads, and where its answer begins."""

    chat_template: bool = False
    """Wrap prompts in a chat template, as the user's turn."""
    chat_template_file: Path | None = None
    """Jinja file of that template, on every machine that runs rollout workers; by default the tokenizer's own."""
    system_prompt: str | None = "You are a helpful assistant."
    """What the chat's system turn says; null leaves the turn to the template."""
    complete_prompt: str = "Please complete the following problem:\n```\n{prompt}\n```\n"
    """What a task to continue, such as HumanEval's, becomes with a chat template: a question. ``{prompt}`` is its
    text."""
    question_prompt: str = "{prompt}"
    """What a task that is a question already, such as MBPP's, becomes. ``{prompt}`` is the question."""
    answer_prefix: str = ""
    """Text that every answer to a ``fenced`` task begins with, such as an opening fence: the model reads it at the
    end of its prompt, and the reward as the beginning of what the model wrote."""

    @field_validator("complete_prompt", "question_prompt")
    @classmethod
    def _holds_the_prompt(cls, text: str) -> str:
        if "{prompt}" not in text:
            raise ValueError("says nothing of the task; put {prompt} where its text goes")
        return text

    @model_validator(mode="after")
    def _template_is_used(self) -> Self:
        if self.chat_template_file is not None and not self.chat_template:
            raise ValueError("chat_template_file: not used; set chat_template: true, or leave the file out")
        return self


def _check_sources(field: str, sources: Sequence[TaskSource]) -> None:
    labels = [source.label for source in sources]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"{field}: two sources are called {label!r}; give one of them another name")
    without = [source.path for source in sources if source.weight is None]
    if without and len(without) < len(sources):
        raise ValueError(f"{field}: {without[0]} has no weight and others have; give all of them one, or none")


class DataConfig(PromptSettings):
    source: Literal["synthetic", "file"] = "file"
    """``synthetic`` generates the quick start's tasks; ``file`` reads ``train`` and ``held_out``."""
    train: TaskSources = ()
    """Where training tasks come from: a file, ``hub:`` and the name of a data set on the Hub, or a list of sources
    of several; docs/tasks.md has the formats."""
    train_format: str | None = None
    """Format of their rows by name, of ours or of an installed plug-in, or by path, ``module:function``; by
    default the fields of each row tell it."""
    held_out: TaskSources = ()
    """Where evaluation tasks come from, as ``train``, but without weights."""
    held_out_format: str | None = None
    """Format of their rows, as of ``train_format``."""
    train_tasks: Positive = 2000
    """How many training tasks the synthetic generator makes."""
    held_out_tasks: Positive = 200
    """How many held-out tasks the synthetic generator makes."""
    max_prompt_tokens: Positive = 512
    """A task whose prompt is longer, template and ``answer_prefix`` included, is left out, and counted."""
    metadata: tuple[str, ...] = ()
    """Columns of the rows, also of those held out, that reward functions get in ``task.metadata``; 16 KiB a task
    at most."""

    @model_validator(mode="after")
    def _file_has_train(self) -> Self:
        if self.source == "file" and not self.train:
            raise ValueError("train: missing; name a file of tasks, or set source: synthetic")
        for field, sources in (("train", self.train), ("held_out", self.held_out)):
            _check_sources(field, sources)
        if any(source.weight is not None for source in self.held_out):
            raise ValueError("held_out: is evaluated on as a whole; leave the weights out")
        unread = next((name for name in ("train", "held_out") if getattr(self, name)), None)
        if self.source == "synthetic" and unread is not None:
            raise ValueError(f"{unread}: not read where tasks are generated; leave it out, or set source: file")
        if self.source == "synthetic" and self.metadata:
            raise ValueError("metadata: generated tasks have no columns; leave it out, or set source: file")
        return self


class AdmissionConfig(Section):
    max_staleness: NonNegative = 0
    """Weight versions a group may be behind when it is trained; 0 is synchronous."""
    max_in_flight: Positive = 64
    """Groups admitted and not yet trained, filtered or dropped, at most."""
    stale: Literal["drop", "wait"] = "drop"
    """A group older than ``max_staleness`` at consumption is dropped, or trained all the same (``wait`` only
    paces admission)."""
    oversample: Annotated[float, Field(ge=1, le=LARGEST_NUMBER)] = 1.0
    """How many groups are admitted for each that is to be trained, so that the learner need not wait for others
    in place of those that ``learner.zero_variance_groups: replace`` filters out. What is left over is trained a
    step later."""
    revisit: Share = 1.0
    """Chance that a group gets a task whose last group carried no learning signal, as the model solved it always
    or never; else it gets another one. 1 gives tasks as they come."""
    max_discarded: NonNegative = 20
    """How many steps' groups may be filtered or dropped for one step; with more, the run stops and says why. 0
    sets no limit."""

    @model_validator(mode="after")
    def _left_over_is_of_use(self) -> Self:
        if self.oversample > 1 and not self.max_staleness:
            raise ValueError(
                "oversample: what is left over of a step is too old for the next at max_staleness 0; raise "
                "max_staleness, or set oversample: 1"
            )
        return self


class EvaluationConfig(Section):
    every_steps: NonNegative = 0
    """Learner steps between evaluations on held-out tasks; 0 evaluates before and after only."""
    temperature: Temperature = 0.0
    """0 is greedy."""
    samples: Positive = 1
    """Completions per held-out task."""


class StreamsConfig(Section):
    url: str = "embedded"
    """``embedded`` starts a Redis-compatible server for the run; else redis://[:password@]host:port/db, or
    ``env:NAME`` for an address that is read from the environment variable NAME and written nowhere."""
    capacity: Positive = 1024
    """Messages a stream may hold before its producer is made to wait."""
    deliveries: Positive = 3
    """A message that was delivered this often without success is given up: its group is lost, with that reason."""
    claim_seconds: Rate = 60.0
    """A message idle this long belongs to a dead consumer and is claimed by another."""

    @field_validator("url")
    @classmethod
    def _names_a_variable(cls, url: str) -> str:
        return check_reference(url)

    @property
    def address(self) -> str:
        """The url to connect to. Raises ConfigError where it is in an environment variable that is not set."""
        return from_environment("streams.url", self.url)

    @property
    def in_environment(self) -> bool:
        """Whether the url is a secret of the environment, which no file of the run is to hold."""
        return names_variable(self.url)


class RayConfig(Section):
    address: str = "local"
    """``local`` starts Ray for the run; ``auto`` or host:port joins a cluster."""
    dashboard: bool = True
    """Start Ray's dashboard with a local Ray; ``ray list actors`` needs it."""


class WandbConfig(Section):
    project: Annotated[str, Field(pattern=r"^[^/\\#?%:]{1,128}$")] = "couplet"
    """Project of W&B that the run is put into."""
    entity: Annotated[str, Field(min_length=1)] | None = None
    """User or team whose project it is; by default that of the account."""
    group: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """Group of runs that belong together, such as the seeds of one experiment."""
    tags: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = ()
    """Tags of the run."""


class TelemetryConfig(Section):
    host: str = Field(default="auto", min_length=1)
    """Address on which the run's main process serves its metrics and the list of all endpoints. ``auto``: loopback
    with a local Ray, the node's address on a cluster."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Its port; 0 takes a free one."""
    loggers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Who is told of every step's metrics besides ``metrics.jsonl`` and Prometheus (extras ``tensorboard``,
    ``wandb``)."""
    sample_steps: NonNegative = 10
    """Learner steps between two tables of samples that they are told of (prompt, completion, reward); 0: none."""
    wandb: WandbConfig = WandbConfig()
    """Where W&B puts the run, for ``loggers: [wandb]``. Its own variables (WANDB_MODE, ...) apply."""

    @model_validator(mode="after")
    def _loggers_are_used(self) -> Self:
        for name in self.loggers:
            if self.loggers.count(name) > 1:
                raise ValueError(f"loggers: names {name} twice; leave one of the two out")
        if self.wandb != WandbConfig() and "wandb" not in self.loggers:
            raise ValueError("wandb: not used; add wandb to loggers, or leave the section out")
        return self


class DeadlinesConfig(Section):
    step_seconds: Rate = 900.0
    """A learner step, waiting for its groups included; a checkpoint; an export of the model; and the time until
    the next task of a held-out evaluation comes back."""
    weights_seconds: Rate = 120.0
    """Loading new weights into a rollout worker; one that misses it is restarted. The wait for a batch to end does
    not count."""
    start_seconds: Rate = 300.0
    """Start of an actor, loading the model included."""
    redis_seconds: Rate = 300.0
    """How long Redis may be away or unusable; after that the run keeps a checkpoint and gives up. No other
    deadline runs meanwhile."""
    heartbeat_seconds: Rate = 30.0
    """An actor that does not answer for so long is taken for hung, and is replaced."""
    progress_seconds: Rate = 300.0
    """A rollout worker that makes no denoising step for so long, with work at hand, is taken for hung, and is
    replaced."""
    restarts: NonNegative = 5
    """Restarts of each actor, within ``restart_window_seconds``, before the run gives up."""
    restart_window_seconds: Rate = 3600.0
    """Restarts that are longer ago no longer count against ``restarts``."""
