"""The configuration of a supervised stage: adaptation, mid-training or supervised fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from common.config.base import Amount, NonNegative, Positive, Rate, Section, Share
from common.config.engine import EngineConfig
from common.config.run import DeadlinesConfig, ModelSection, RayConfig, RunConfig, TelemetryConfig

#: The stages before reinforcement learning, in their order (DiffuCoder paper, section 3).
Stage = Literal["adapt", "pretrain", "sft"]

#: A ratio of masked tokens that something is measured at.
Ratio = Annotated[float, Field(gt=0, le=1)]


class StageModelConfig(ModelSection):
    """The model that a stage starts from. ``path`` of an ``adapt`` run may also be a ``.gguf`` file."""

    weights: Literal["pretrained", "random"] = "pretrained"
    """``random`` takes the architecture and the tokenizer of ``path``, and draws the weights."""
    mask_token: str | None = None
    """Text of the special token that masks, for a model that has none: one that no text uses, such as
    ``<empty_output>``, or a new one. By default a new one, ``<|mask|>``."""
    pad_token: str | None = None
    """Text of the learned pad token of ``data.padding: learned``; it is added where the tokenizer has none of that
    name. By default the pad token that the model has."""


class CorpusSource(Section):
    """Documents, or examples of ``sft``, from one place."""

    path: str
    """A file (``.jsonl``, ``.jsonl.gz``, ``.parquet``, ``.py``, ``.txt``), a folder of such files, ``hub:`` and
    the name of a data set on the Hub, or ``builtin:stdlib``, the standard library of this interpreter."""
    files: tuple[str, ...] = ()
    """Patterns of the files to take out of a folder or a data set, such as ``data/train-*.parquet``; by default
    all that can be read."""
    text: str = "text"
    """Column of the text of a document."""
    prompt: str = "prompt"
    """Column of what an example asks."""
    answer: str = "answer"
    """Column of its answer."""
    messages: str = "messages"
    """Column of a whole conversation, in place of prompt and answer; its last turn is the answer."""
    weight: Rate | None = None
    """Share of the tokens that come from here, in proportion to the other sources' weights; either all sources
    have one or none. Without weights every document is read once an epoch."""


class CorpusConfig(Section):
    sources: Annotated[tuple[CorpusSource, ...], Field(min_length=1)]
    """Where documents come from; a path alone will do for a source."""
    context_length: Positive = 2048
    """Tokens of a sequence: documents one after the other, or one example of ``sft``."""
    long_documents: Literal["refuse", "cut", "drop"] = "refuse"
    """Documents of more tokens: an error, ``cut`` where a sequence ends (not examples of ``sft``), or left out."""
    held_out_share: Share = 0.01
    """Share of the documents that are not trained on, chosen by a hash of their text; 0 for none."""
    padding: Literal["learned", "none"] = "none"
    """``sft``: fill every example up to ``context_length`` with the pad token, which the model learns to write,
    and with it how long an answer is (paper); or do not."""
    system_prompt: str | None = "You are a helpful assistant."
    """What the system turn of an example without one says; null leaves the turn to the template."""
    chat_template_file: Path | None = None
    """Jinja file of the chat template; by default the tokenizer's own."""
    cache: Path | None = None
    """Folder in which tokens are kept for other runs on the same data, each kind in a folder of its own there; by
    default they lie in the run's folder."""

    @field_validator("sources", mode="before")
    @classmethod
    def _from_paths(cls, values: Any) -> Any:
        if isinstance(values, str):
            values = [values]
        return [{"path": v} if isinstance(v, str) else v for v in values] if isinstance(values, list) else values

    @model_validator(mode="after")
    def _all_or_none_have_weights(self) -> Self:
        without = [source.path for source in self.sources if source.weight is None]
        if without and len(without) < len(self.sources):
            raise ValueError(f"sources: {without[0]} has no weight and others have; give all of them one, or none")
        return self


class DenoisingConfig(Section):
    """The loss: cross-entropy of the masked tokens, weighed by 1/t, at a ratio t of each document's own."""

    t_min: Ratio = 1e-3
    """Ratios t are uniform between this and 1."""
    normalization: Literal["tokens", "masked"] = "tokens"
    """What the loss of a step is divided by: its tokens that may be masked (LLaDA), or those that were
    (DiffuLLaMA)."""
    annealing_steps: NonNegative = 0
    """``adapt``: steps over which attention turns from causal to full; 0 has full attention from the start."""
    truncate_share: Share = 0.0
    """Share of documents that are cut at a random length (paper: 0.01)."""
    prefix_share: Share = 0.0
    """Share of documents whose beginning, of random length, is never masked (paper: 0.01)."""
    phase_in_epochs: Amount = 0.0
    """``sft``: epochs over which the share of examples whose prompt is not masked rises from 0 to 1 (paper: 1)."""
    pad_weight: Amount = 1.0
    """``sft``: how much the loss at a pad token counts beside that at others."""


class StageLearnerConfig(EngineConfig):
    sequences_per_step: Positive = 8
    """Sequences of ``data.context_length``, or examples, of one optimizer step, over all ranks."""
    peak_tflops: Rate | None = None
    """Peak TFLOP/s of a rank's device in ``model.dtype``, which model FLOP utilization is measured by; by default
    that of the GPUs that are known, and none for a CPU."""


class StageEvaluationConfig(Section):
    every_steps: NonNegative = 0
    """Steps between evaluations on held-out documents; 0 evaluates before and after only."""
    sequences: Positive = 64
    """Held-out sequences, or examples, to evaluate on; fewer where there are fewer."""
    ratios: Annotated[tuple[Ratio, ...], Field(min_length=1)] = (0.15, 0.5, 0.85)
    """Ratios of masked tokens; the masks are the same at every evaluation."""


class StageConfig(Section):
    """A whole run of a supervised stage."""

    stage: Stage
    """Which one the recipe is for: ``couplet adapt``, ``couplet pretrain`` or ``couplet sft``."""
    run: RunConfig = RunConfig()
    model: StageModelConfig
    data: CorpusConfig
    objective: DenoisingConfig = DenoisingConfig()
    learner: StageLearnerConfig = StageLearnerConfig()
    evaluation: StageEvaluationConfig = StageEvaluationConfig()
    ray: RayConfig = RayConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    deadlines: DeadlinesConfig = DeadlinesConfig()

    @model_validator(mode="after")
    def _belongs_to_the_stage(self) -> Self:
        only_adapt = {"objective.annealing_steps": self.objective.annealing_steps}
        only_sft = {
            "objective.phase_in_epochs": self.objective.phase_in_epochs,
            "objective.pad_weight": self.objective.pad_weight != 1.0,
            "data.padding": self.data.padding == "learned",
        }
        for stage, settings in (("adapt", only_adapt), ("sft", only_sft)):
            for name, used in settings.items():
                if used and self.stage != stage:
                    raise ValueError(f"{name}: only {stage} has it; leave it out, or set stage: {stage}")
        if self.stage == "sft" and (self.objective.truncate_share or self.objective.prefix_share):
            raise ValueError("objective.truncate_share, prefix_share: of documents; leave them out for sft")
        if self.stage == "sft" and self.data.long_documents == "cut":
            raise ValueError("data.long_documents: an example that is cut has no answer; set drop or refuse")
        if self.model.pad_token is not None and self.data.padding != "learned":
            raise ValueError("model.pad_token: not used; set data.padding: learned, or leave it out")
        if self.run.keep_best and not self.data.held_out_share:
            raise ValueError(
                "run.keep_best: without held-out documents nothing says which weights are best; set "
                "data.held_out_share"
            )
        self.learner.check_dtype(self.model.dtype)
        return self

    @property
    def folder(self) -> Path:
        return self.run.folder or Path("runs") / self.run.name
