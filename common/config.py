"""The typed configuration of a run.

One frozen tree; every field has a description, unknown keys fail, and nothing here imports torch. A recipe is a
YAML file of this tree; ``section.field=value`` arguments override it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from common.presets import PRESETS, Preset
from common.records import Decoder, Sampler, Temperature, Threshold, TopP, check_sampler


class ConfigError(ValueError):
    """A recipe or override that cannot be used; the message names the field and the remedy."""


class Section(BaseModel):
    """Base of all sections: frozen, closed, documented by the docstrings under its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
EstimatorName = Literal[
    "coupled", "decoupled", "full_mask", "random_mask", "elbo", "elbo_quadrature", "trace", "left_to_right"
]
#: Estimators that leave some tokens without a likelihood, depending on the masks.
PARTIAL_ESTIMATORS = ("random_mask", "elbo_quadrature")


class RunConfig(Section):
    name: str = Field(default="couplet", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Names the run; its folder is ``runs/<name>`` unless ``folder`` is set."""
    folder: Path | None = None
    """Where everything the run produces goes."""
    about: str = ""
    """What the run shows and what it does not, in a sentence or two; printed first and put into the report."""
    seed: NonNegative = 0
    """Keys every random number of the run."""
    steps: Positive = 100
    """Learner steps (weight versions) to train."""


class ModelSection(Section):
    path: str
    """A model folder or Hugging Face name; ``builtin:quickstart`` is the shipped warm start."""
    threads: NonNegative = 0
    """CPU threads of each process that runs the model; 0 means all cores it may use."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` takes CUDA where the process sees a GPU."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute type of rollouts and learner alike; the learner keeps fp32 master weights."""


class DataConfig(Section):
    source: Literal["synthetic", "file"] = "file"
    """``synthetic`` generates the quick start's tasks; ``file`` reads ``train`` and ``held_out``."""
    train: Path | None = None
    """Training tasks: jsonl or jsonl.gz, our own schema or MBPP/AceCode records."""
    held_out: Path | None = None
    """Evaluation tasks, same formats."""
    train_tasks: Positive = 2000
    """How many training tasks the synthetic generator makes."""
    held_out_tasks: Positive = 200
    """How many held-out tasks the synthetic generator makes."""
    max_prompt_tokens: Positive = 512
    """A task whose prompt is longer is left out, and counted."""
    chat_template: bool = False
    """Wrap prompts in the tokenizer's chat template."""

    @model_validator(mode="after")
    def _file_has_train(self) -> Self:
        if self.source == "file" and self.train is None:
            raise ValueError("train: missing; name a jsonl file of tasks, or set source: synthetic")
        return self


class RolloutConfig(Section):
    workers: Positive = 1
    """Ray actors that denoise."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0.0
    """GPUs Ray reserves for each rollout worker."""
    group_size: Annotated[int, Field(ge=2)] = 8
    """G, completions per task. At least 2: a group of one has no baseline."""
    temperature: Temperature = 1.2
    """Sampling temperature; 0 is greedy. The paper's is 1.2 (section 4.2, figure 7)."""
    top_p: TopP = 0.95
    """Nucleus mass kept before entropy and sampling; 1 keeps everything."""
    top_k: NonNegative = 0
    """Most likely tokens kept before entropy and sampling; 0 keeps everything."""
    decoder: Decoder = "entropy"
    """Which masked positions are committed first. Dream and DiffuCoder: ``entropy`` (lowest), ``topk_margin``
    (largest gap between the two likeliest tokens), ``maskgit_plus`` (likeliest drawn token), ``origin`` (random).
    LLaDA: ``low_confidence`` (likeliest drawn token, by the model's own probability) and ``random``. ``threshold``
    commits every drawn token of probability above ``threshold`` at once, which makes it another policy."""
    decoder_temperature: Temperature = 0.0
    """Above 0, positions are drawn from softmax(confidence / decoder_temperature) instead of taken in order."""
    threshold: Threshold = 0.9
    """Probability above which the ``threshold`` decoder commits a token."""
    completion_length: Positive = 256
    """L, mask tokens after the prompt."""
    denoising_steps: Positive = 256
    """S; each step commits about L/S tokens."""
    block_length: NonNegative = 0
    """Semi-autoregressive blocks: one is finished before the next begins. 0 denoises everything at once."""
    upstream: bool = False
    """Follow the published step schedule, its integer truncation included, instead of an exact budget per row."""
    approximate_cache: Literal["none", "prefix", "dual"] = "none"
    """Approximate: inside a block, reuse the keys and values of the text before it (``prefix``) or of all that is
    outside it (``dual``). Recorded in every rollout; `couplet bench agreement` shows what it changes."""
    batch_tokens: Positive = 16384
    """Tokens, prompts included, that one worker denoises together. Rows that finish make room for waiting ones."""
    update_between: Literal["batches", "steps"] = "batches"
    """When new weights are taken: between batches, or between denoising steps of one batch, whose completions then
    record the versions of their first and last step."""
    compile: Literal["auto", "never"] = "auto"
    """``auto`` compiles the statistics over the vocabulary where it is large and a C++ compiler is found."""

    @model_validator(mode="after")
    def _sampler_is_consistent(self) -> Self:
        check_sampler(self)
        return self

    def sampler(self) -> Sampler:
        return Sampler(**{name: getattr(self, name) for name in Sampler.model_fields})


class RewardConfig(Section):
    workers: Positive = 1
    """Ray actors that run tests."""
    tests: Literal["pass_rate", "all_or_nothing"] = "pass_rate"
    """The test reward: share of tests passed, or 1 only if all pass."""
    tests_weight: Annotated[float, Field(ge=0)] = 2.0
    """Weight of the test reward (released DiffuCoder recipe: 2.0)."""
    format_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the format reward (released DiffuCoder recipe: 0.5)."""
    shuffle: bool = False
    """Control experiment: permute the rewards inside each group, so that they carry no information."""
    sandbox_slots: NonNegative = 0
    """Programs each worker runs at once; 0 means one per CPU core."""
    sandbox_level: Literal["jail", "namespaces", "uid"] = "namespaces"
    """Weakest isolation that is acceptable; below it the run refuses to start. ``jail``: namespaces made by root;
    ``namespaces``: by an ordinary user; ``uid``: none, only another user id, seccomp and limits."""
    cpu_seconds: Rate = 2.0
    """CPU seconds each program may use per test."""
    wall_seconds: Rate = 6.0
    """Wall-clock back-stop per test."""
    memory_mb: Positive = 512
    """Memory each program may use, MiB."""


class OptimizerConfig(Section):
    """AdamW and its learning-rate schedule."""

    learning_rate: Rate = 1e-6
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's exponential averages."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decoupled weight decay."""
    warmup_steps: NonNegative = 0
    """Optimizer steps of linear warm-up."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """How the rate falls from its peak over the run."""
    final_share: Share = 0.1
    """Learning rate at the end, as a share of the peak."""
    max_grad_norm: Rate = 0.2
    """Gradient clipping."""


class LoraConfig(Section):
    """Low-rank adapters (peft, the extra `lora`) on the matrices of every layer; all else stays as it is."""

    rank: Positive = 16
    """Rank of an adapter."""
    alpha: Positive = 32
    """Adapters count alpha / rank."""


class LearnerConfig(Section):
    preset: Preset | None = None
    """A published algorithm: gives the fields below the values of its paper, where the recipe does not set them.
    As an override it goes before the recipe's values."""
    ranks: Positive = 1
    """DeepSpeed ranks, each a Ray actor."""
    gpus_per_rank: Annotated[float, Field(ge=0)] = 0.0
    """GPUs Ray reserves for each rank."""
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 0
    """DeepSpeed ZeRO stage."""
    zero_offload: Literal["none", "optimizer", "all"] = "none"
    """What ZeRO keeps in the memory of the CPU: nothing, the optimizer's state, or (stage 3) the weights as
    well."""
    groups_per_step: Positive = 8
    """Groups (tasks) of one learner step."""
    inner_iterations: Positive = 2
    """mu, updates on the same groups, each with fresh masks."""
    estimator: EstimatorName = "coupled"
    """How token likelihoods are measured. ``coupled``: full mask and pairs of complementary masks (DiffuCoder);
    ``decoupled``: as many masks, drawn apart; ``full_mask``: one pass with part of the prompt masked (d1);
    ``random_mask``: one random subset (UniGRPO); ``elbo``: complementary subsets of exact size (ESPO);
    ``elbo_quadrature``: fixed mask ratios (GDPO); ``trace``: the steps of the rollout (TraceRL);
    ``left_to_right``: one pass a token (JustGRPO), for rollouts with ``rollout.block_length: 1``."""
    mask_pairs: Positive = 1
    """lambda, mask pairs per sample: of ``coupled``, ``decoupled`` and ``elbo``."""
    mask_ratio: tuple[float, float] = (0.2, 0.8)
    """Range of the mask ratio r ~ U(low, high) of ``coupled`` and ``decoupled``."""
    weighting: Literal["paper", "normalized"] = "paper"
    """Of ``coupled`` and ``decoupled``. ``paper``: weights 1/r and 1/(1-r), total 1.5 per token at lambda 1.
    ``normalized``: divided by their total."""
    prompt_mask: Share = 0.15
    """Share of the prompt's tokens that ``full_mask`` masks."""
    quadrature_nodes: Positive = 2
    """Mask ratios of ``elbo_quadrature``."""
    trace_merged_steps: Positive = 1
    """Denoising steps that ``trace`` scores in one view."""
    objective: Literal["grpo", "sequence", "wd1", "spg", "vrpo"] = "grpo"
    """``grpo``: clipped token ratios; ``sequence``: one clipped ratio a completion (ESPO, GSPO); ``wd1``: weighted
    likelihoods without a ratio; ``spg``: lower and upper bounds by the advantage's sign; ``vrpo``: preferences
    between the better and the worse completions of a group (LLaDA 1.5)."""
    advantage: Literal["mean", "loo", "mean_std"] = "mean"
    """Baseline of a group: its mean (paper), leave-one-out, or mean divided by the standard deviation."""
    clip: Rate = 0.5
    """epsilon of the clip of ``grpo`` and ``sequence``: ratios below 1 - epsilon gain nothing more."""
    clip_high: Rate | None = None
    """epsilon above 1; without it, ``clip`` on both sides."""
    kl_weight: Annotated[float, Field(ge=0)] = 0.01
    """beta of the KL to the reference in ``grpo`` and ``sequence``; 0 runs without a reference."""
    kl: Literal["k2", "k3"] = "k3"
    """Estimator of that KL: k3 = e^d - d - 1 (paper), or k2 = d^2 / 2, d the reference's log ratio."""
    reference_sync_steps: NonNegative = 64
    """Optimizer steps between syncs of the reference; 0 keeps it as it was at the start of the run."""
    reference_sync_share: Share = 0.6
    """Share of the current weights in a sync; the rest stays."""
    spg_beta: Annotated[float, Field(ge=1)] = 1.5
    """Power in the upper bound of ``spg``."""
    spg_mix: Share = 0.5
    """Share of the upper bound where ``spg`` lowers a likelihood; the rest is the lower bound."""
    vrpo_beta: Rate = 0.2
    """Scale of the log ratios of ``vrpo``."""
    off_policy_cap: Rate | None = None
    """Truncated importance weights against staleness: rollouts also carry the token likelihoods of the weights
    that sampled, and a token of ``grpo`` counts min(cap, old / sampling). Without a value nothing is corrected."""
    zero_variance_groups: Literal["skip", "replace"] = "skip"
    """Groups whose samples all have one reward: count them as trained, or filter them and take others."""
    batch_tokens: Positive = 16384
    """Tokens, of all views and with their prompts, in one forward and backward pass. What belongs together (the
    views of a sample, the pair of ``vrpo``) stays together, also where it is more."""
    logits_mb: Positive = 64
    """MiB of logits at a time: the vocabulary is scored in chunks of rows."""
    gradient_checkpointing: bool = False
    """Keep one hidden state a layer and compute the rest again in the backward pass."""
    compile: bool = False
    """Compile the feed-forward blocks (needs a C++ compiler, or CUDA); not with ZeRO stage 3."""
    lora: LoraConfig | None = None
    """Train low-rank adapters instead of all weights: an empty mapping takes the defaults."""
    deterministic: bool = False
    """Only kernels that repeat bitwise, also on a GPU, where they are slower."""
    optimizer: OptimizerConfig = OptimizerConfig()
    checkpoint_steps: Positive = 10
    """Learner steps between checkpoints."""
    keep_checkpoints: Positive = 2
    """Checkpoints kept."""
    bucket_mb: Positive = 64
    """Size of a weight bucket, MiB."""
    weights_transport: Literal["auto", "object_store", "collective"] = "auto"
    """How rollout workers get new weights: each out of Ray's ``object_store``, or by ``collective`` broadcast from
    rank 0 (NCCL between GPUs, gloo otherwise), which a worker that starts late makes up for in the object store.
    ``auto`` broadcasts where some worker is on another machine than rank 0."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        preset = PRESETS.get(values.get("preset")) if isinstance(values, dict) else None
        return {**preset, **values} if preset else values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.mask_ratio
        if not 0 < low <= high < 1:
            raise ValueError("mask_ratio: needs 0 < low <= high < 1")
        if self.estimator == "decoupled" and abs(low + high - 1.0) > 1e-9:
            raise ValueError(
                "mask_ratio: complements have the ratio 1 - r; to compare with them, decoupled needs a range that "
                "is symmetric about 0.5"
            )
        if self.zero_offload != "none" and not self.zero_stage:
            raise ValueError("zero_offload: is a part of ZeRO; set zero_stage to 1, 2 or 3")
        if self.zero_offload == "all" and self.zero_stage < 3:
            raise ValueError(
                "zero_offload: only stage 3 moves weights; set zero_stage: 3, or offload the optimizer"
            )
        if self.compile and self.zero_stage == 3:
            raise ValueError(
                "compile: blocks whose weights come and go cannot be compiled; set zero_stage below 3"
            )
        if self.lora and self.zero_stage == 3:
            raise ValueError("lora: adapters are too small to be partitioned; set zero_stage below 3")
        if self.off_policy_cap and self.objective != "grpo":
            raise ValueError("off_policy_cap: only the grpo objective weighs tokens; leave it out")
        if self.off_policy_cap and self.estimator in PARTIAL_ESTIMATORS:
            raise ValueError(f"off_policy_cap: {self.estimator} does not score every token; leave it out")
        if self.objective in ("spg", "vrpo") and self.estimator not in ("elbo", "elbo_quadrature"):
            raise ValueError(
                f"objective: {self.objective} is made of evidence lower bounds; set estimator to elbo"
            )
        return self

    @property
    def needs_reference(self) -> bool:
        return self.objective == "vrpo" or (self.objective in ("grpo", "sequence") and self.kl_weight > 0)


class AdmissionConfig(Section):
    max_staleness: NonNegative = 0
    """Weight versions a group may be behind when it is trained; 0 is synchronous."""
    max_in_flight: Positive = 64
    """Groups admitted and not yet trained, filtered or dropped, at most."""
    stale: Literal["drop", "wait"] = "drop"
    """A group older than ``max_staleness`` at consumption is dropped, or trained all the same (``wait`` only
    paces admission)."""


class EvaluationConfig(Section):
    every_steps: NonNegative = 0
    """Learner steps between evaluations on held-out tasks; 0 evaluates before and after only."""
    temperature: Temperature = 0.0
    """0 is greedy."""
    samples: Positive = 1
    """Completions per held-out task."""


class StreamsConfig(Section):
    url: str = "embedded"
    """``embedded`` starts a Redis-compatible server for the run; else redis://[:password@]host:port/db."""
    capacity: Positive = 1024
    """Messages a stream may hold before its producer is made to wait."""
    deliveries: Positive = 3
    """A message that was delivered this often without success goes to the dead-letter stream."""
    claim_seconds: Rate = 60.0
    """A message idle this long belongs to a dead consumer and is claimed by another."""


class RayConfig(Section):
    address: str = "local"
    """``local`` starts Ray for the run; ``auto`` or host:port joins a cluster."""
    dashboard: bool = True
    """Start Ray's dashboard with a local Ray; ``ray list actors`` needs it."""


class DeadlinesConfig(Section):
    step_seconds: Rate = 900.0
    """A learner step, waiting for its groups included."""
    weights_seconds: Rate = 120.0
    """Loading new weights into a rollout worker; one that misses it is restarted."""
    start_seconds: Rate = 300.0
    """Start of an actor, loading the model included."""
    restarts: NonNegative = 5
    """Restarts of each actor before the run gives up."""


class Config(Section):
    """A whole run."""

    run: RunConfig = RunConfig()
    model: ModelSection
    data: DataConfig
    rollout: RolloutConfig = RolloutConfig()
    reward: RewardConfig = RewardConfig()
    learner: LearnerConfig = LearnerConfig()
    admission: AdmissionConfig = AdmissionConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    streams: StreamsConfig = StreamsConfig()
    ray: RayConfig = RayConfig()
    deadlines: DeadlinesConfig = DeadlinesConfig()

    @model_validator(mode="after")
    def _steps_can_fill(self) -> Self:
        if self.admission.max_in_flight < self.learner.groups_per_step:
            raise ValueError(
                "admission.max_in_flight: smaller than learner.groups_per_step, so no step could ever fill"
            )
        if self.learner.estimator == "left_to_right" and self.rollout.block_length != 1:
            raise ValueError(
                "learner.estimator: left_to_right scores what was decoded from left to right; set "
                "rollout.block_length: 1 and rollout.denoising_steps to rollout.completion_length"
            )
        unacknowledged = self.learner.checkpoint_steps * self.learner.groups_per_step
        if self.streams.capacity < unacknowledged + self.admission.max_in_flight:
            raise ValueError(
                "streams.capacity: must hold the groups between two checkpoints and those in flight, "
                f"{unacknowledged + self.admission.max_in_flight} here, or the run would block itself"
            )
        longest = self.data.max_prompt_tokens + self.rollout.completion_length
        if self.rollout.batch_tokens < longest:
            raise ValueError(
                "rollout.batch_tokens: smaller than one row, data.max_prompt_tokens + rollout.completion_length = "
                f"{longest}"
            )
        return self

    @property
    def folder(self) -> Path:
        return self.run.folder or Path("runs") / self.run.name


def load_config(recipe: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a recipe and apply ``a.b=value`` overrides (values are YAML). Raises :class:`ConfigError`."""
    try:
        raw = yaml.safe_load(recipe.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"recipe {recipe}: no such file; see the recipes/ folder") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {recipe}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"recipe {recipe}: not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"recipe {recipe}: expected a mapping of sections")
    for override in overrides:
        if override.startswith("learner.preset="):
            _clear_for_preset(raw, override.partition("=")[2])
    for override in overrides:
        _apply(raw, override)
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_explain(recipe, error)) from error


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML that :func:`load_config` reads back; a Redis password is left out."""
    tree = config.model_dump(mode="json")
    tree["streams"]["url"] = without_password(config.streams.url)
    text: str = yaml.safe_dump(tree, sort_keys=False)
    return text


def without_password(url: str) -> str:
    """An address fit for files and messages."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _apply(raw: dict[str, Any], override: str) -> None:
    path, sign, text = override.partition("=")
    if not sign or not path:
        raise ConfigError(f"override {override!r}: write it as section.field=value")
    *sections, field = path.split(".")
    node = raw
    for section in sections:
        child = node.setdefault(section, {})
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {section} is a value, not a section")
        node = child
    try:
        value = yaml.safe_load(text)
        # YAML 1.1 reads 1e-6 as text; a learning rate written so is a number to everybody else.
        node[field] = float(value) if isinstance(value, str) and _is_number(value) else value
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not valid YAML") from error


def _clear_for_preset(raw: dict[str, Any], preset: str) -> None:
    """A preset asked for beside a recipe replaces what the recipe says of the algorithm, not the other way
    round."""
    learner = raw.get("learner")
    if isinstance(learner, dict):
        for field in PRESETS.get(preset, {}):
            learner.pop(field, None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _explain(recipe: Path, error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"unknown key; {_known_keys(problem['loc'])}"
        elif problem["type"] != "missing" and not isinstance(problem["input"], dict):
            message = f"{message} (got {problem['input']!r})"
        lines.append(f"  {where}: {message}" if where else f"  {message}")
    return f"recipe {recipe} is not valid:\n" + "\n".join(lines)


def _known_keys(location: tuple[int | str, ...]) -> str:
    section: Any = Config
    for part in location[:-1]:
        section = section.model_fields[str(part)].annotation
    return "known keys here: " + ", ".join(section.model_fields)
