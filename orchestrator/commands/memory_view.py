"""The memory of a run by part, before it is started, and whether it fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table

from common.config import Config, StageConfig, VllmBackendConfig
from common.memory import Estimate, Part
from common.models.config import ModelConfig
from common.models.families import ModelError
from common.models.folder import is_hub_name, local_model_folder
from common.models.published import PUBLISHED
from learner.memory import STEPPED, largest_micro_batch, learner_memory, stage_memory
from learner.stages.starting_plan import is_gguf, starting_config
from learner.traffic import pass_tokens
from orchestrator.checkpoint_room import room_sentence
from rollout_workers.backends.vllm_backend.limits import check_limits
from rollout_workers.backends.vllm_backend.memory import vllm_memory
from rollout_workers.memory import rollout_memory

#: A GPU that is not there to be asked: an H100 or A100.
_USUAL_GPU_GB = 80.0
_RANK_REMEDY = "learner.zero_stage, weights_dtype, batch_tokens, gradient_checkpointing or zero_offload"
_WORKER_REMEDY = "rollout.batch_tokens"
#: CUDA's context, NCCL's buffers and what the allocator cannot use, on every GPU.
_SURROUNDINGS = 2_000_000_000


def memory_view(config: Config, gpu_gb: float | None) -> RenderableType:
    """Show bytes by part of a learner rank and of a rollout worker, and warn of what cannot fit.

    ``gpu_gb`` is the size of a GPU; without it that of this machine's, or 80 GB.
    """
    return _view(config.model.path, ModelConfig.from_folder, lambda model: _tables(config, model, gpu_gb))


def stage_memory_view(config: StageConfig, gpu_gb: float | None) -> RenderableType:
    """Show bytes by part of a rank of a supervised stage, as :func:`memory_view` does."""

    def tables(model: ModelConfig) -> Iterator[RenderableType]:
        learner = config.learner
        title = f"memory of a rank ({learner.ranks} ranks, {pass_tokens(learner)} tokens in a pass)"
        yield from _table(title, stage_memory(model, config), learner.gpus_per_rank, gpu_gb, _RANK_REMEDY)

    def read(folder: Path) -> ModelConfig:
        return starting_config(config.model, config.stage, config.data.padding)

    return _view(config.model.path, read, tables)


def checkpoints_line(config: Config | StageConfig) -> str:
    """Say what room checkpoints take; say why not where the model's shape is not known here."""
    model = config.model
    folder = Path(model.path) if is_gguf(model.path) else local_model_folder(model.path)
    try:
        if folder is None:
            raise ModelError(f"model.path {model.path!r} is not on this machine")
        if isinstance(config, StageConfig):
            shape = starting_config(config.model, config.stage, config.data.padding)
        else:
            shape = ModelConfig.from_folder(folder)
    except ModelError as error:
        return f"checkpoints: their size is not known: {error}"
    return f"checkpoints: {room_sentence(config, shape, config.run.steps)}"


def _view(
    path: str,
    read: Callable[[Path], ModelConfig],
    tables: Callable[[ModelConfig], Iterator[RenderableType]],
) -> RenderableType:
    """Show the tables of a model by its path; say why not where its shape is not known here."""
    folder = Path(path) if is_gguf(path) else local_model_folder(path)
    if folder is not None and (is_gguf(path) or (folder / "config.json").is_file()):
        try:
            return Group(*tables(read(folder)))
        except ModelError as error:
            return f"memory: not known: {error}"
    if path in PUBLISHED:
        note = f"memory: by the published shape of {path}, which is not on this machine"
        return Group(note, *tables(PUBLISHED[path]))
    if folder is not None:
        return f"memory: not known: {path} has no config.json; bring it there, or set model.path to another folder"
    if is_hub_name(path):
        return (
            f"memory: not known: {path} is not on this machine (a dry run downloads nothing); fetch it, or set "
            "model.path to a folder with its config.json"
        )
    return (
        f"memory: not known: there is no folder {path}; where an earlier stage is still to write it, let "
        "model.path name a published model of its shape for the dry run, such as Qwen/Qwen2.5-Coder-7B"
    )


def _tables(config: Config, model: ModelConfig, gpu_gb: float | None) -> Iterator[RenderableType]:
    learner, rollout = config.learner, config.rollout
    bf16 = config.model.dtype == "bfloat16"
    batch = largest_micro_batch(
        learner, config.data.max_prompt_tokens, rollout.completion_length, rollout.group_size
    )
    rank = learner_memory(model, learner, bf16, batch, on_gpu=learner.gpus_per_rank > 0)
    title = f"memory of a learner rank ({learner.ranks} ranks, {batch.tokens} tokens in a pass)"
    yield from _table(title, rank, learner.gpus_per_rank, gpu_gb, _RANK_REMEDY)
    yield from _worker_table(config, model, gpu_gb)
    if config.takes_turns and learner.gpus_per_rank:
        workers = rollout.workers // learner.ranks
        worker = rollout_memory(model, rollout, bf16, learner.bucket_mb << 20, on_gpu=True)
        yield _in_turns(rank, worker, workers, gpu_gb)


def _in_turns(rank: Estimate, worker: Estimate, workers: int, gpu_gb: float | None) -> str:
    """Say what a GPU takes that a rank shares with its workers: the more of the two, as one of them sleeps."""
    trains, denoises = rank.peak[1], workers * worker.peak[1]
    around = (1 + workers) * _SURROUNDINGS
    peak, size = max(trains, denoises) + around, _gpu_gb() if gpu_gb is None else gpu_gb
    asleep = rank.at(STEPPED)
    text = (
        f"a GPU in turns: at most {_gb(peak)} GB, as the learner takes {_gb(trains)} and {workers} rollout "
        f"worker{'s' if workers > 1 else ''} {_gb(denoises)}, never together, and CUDA, NCCL and fragments "
        f"{_gb(around)}; asleep, a rank has {_gb(asleep)} GB in the machine's memory"
    )
    if peak > size * 1e9:
        text += f"\n[bold red]warning: {_gb(peak)} GB do not fit in {size:.0f} GB; change {_RANK_REMEDY}[/]"
    return text


def _worker_table(config: Config, model: ModelConfig, gpu_gb: float | None) -> Iterator[RenderableType]:
    rollout, backend, bucket = config.rollout, config.rollout.backend, config.learner.bucket_mb << 20
    gpus, work = rollout.gpus_per_worker, f"{rollout.batch_tokens} tokens in a pass"
    if not isinstance(backend, VllmBackendConfig):
        worker = rollout_memory(model, rollout, config.model.dtype == "bfloat16", bucket, on_gpu=gpus > 0)
        yield from _table(f"memory of a rollout worker ({work})", worker, gpus, gpu_gb, _WORKER_REMEDY)
        return
    size, share = backend.tensor_parallel_size, backend.gpu_memory_utilization
    place = f"each {'GPU' if gpus else 'process'} of a rollout worker" if size > 1 else "a rollout worker"
    remedy = f"{_WORKER_REMEDY}, rollout.backend.tensor_parallel_size or gpu_memory_utilization"
    each = vllm_memory(model, rollout, backend, config.model.dtype, bucket)
    yield from _table(f"memory of {place} (vllm, {work})", each, min(gpus, share), gpu_gb, remedy)
    if gpus:
        yield f"vllm does not start where less than {share:.0%} of a GPU is free (gpu_memory_utilization)"
    try:
        check_limits(model, size, on_gpu=gpus > 0)
    except ValueError as error:
        yield f"[bold red]warning: vllm cannot compute this model: {error}[/]"


def _table(
    title: str, estimate: Estimate, gpus: float, gpu_gb: float | None, remedy: str
) -> Iterator[RenderableType]:
    place = "a GPU" if gpus else "the machine's memory"
    around = (Part("CUDA, NCCL, fragments", _SURROUNDINGS, frozenset(estimate.moments)),) if gpus else ()
    estimate = Estimate(estimate.moments, (*estimate.parts, *around), estimate.host)
    moment, peak = estimate.peak
    table = Table("part", "GB", "when", title=f"{title}, in GB of {place}", title_justify="left")
    for part in estimate.parts:
        if part.bytes:
            table.add_row(part.name, _gb(part.bytes), _when(part, estimate.moments))
    yield table
    yield "by moment: " + ", ".join(f"{name} {_gb(estimate.at(name))}" for name in estimate.moments)
    at_most = f"at most {_gb(peak)} GB of {place} ({moment})"
    if estimate.host_bytes:
        names = ", ".join(part.name for part in estimate.host if part.bytes)
        at_most += f", and {_gb(estimate.host_bytes)} GB of the machine's memory ({names})"
    yield at_most
    if gpus:
        size = _gpu_gb() if gpu_gb is None else gpu_gb
        room = size * min(1.0, gpus)
        if peak > room * 1e9:
            yield f"[bold red]warning: {_gb(peak)} GB do not fit in {room:.0f} GB; change {remedy}[/]"


def _when(part: Part, moments: Sequence[str]) -> str:
    present = [name for name in moments if name in part.moments]
    if 2 * len(present) <= len(moments):
        return ", ".join(present)
    absent = [name for name in moments if name not in part.moments]
    return f"all but {', '.join(absent)}" if absent else "always"


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f}" if size >= 5e7 else f"{size / 1e9:.4f}"


def _gpu_gb() -> float:
    """Return the size of this machine's GPU, or of a usual one."""
    import torch  # takes seconds, and recipes without GPUs ask for no size

    if torch.cuda.is_available():
        return float(torch.cuda.get_device_properties(0).total_memory) / 1e9
    return _USUAL_GPU_GB
