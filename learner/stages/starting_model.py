"""Writing the model that a stage starts from, as :mod:`learner.stages.starting_plan` plans it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from common.config.stages import Stage, StageModelConfig
from common.models.checkpoint import StoredWeights
from common.models.config import ModelConfig
from common.models.families import ModelError, checkpoint_name
from common.models.loading import save_model
from common.models.shapes import parameter_shapes
from common.models.transformer import MaskedDiffusionModel, initialize
from learner.stages.gguf import read_gguf_weights
from learner.stages.starting_plan import StartingPlan, planned


def make_starting_model(model: StageModelConfig, stage: Stage, padding: str, seed: int, target: Path) -> None:
    """Write the masked-diffusion model that the stage starts from. Atomic.

    ``seed`` keys weights that are drawn. The rows of new tokens, in the embedding and in an output layer of its
    own, are the mean of those of the others, which keeps what is said of the others as it was (Hewitt 2021).
    Weights of a folder are read and written one tensor at a time, in the type that they have.
    Raises :class:`ModelError` as :func:`needs_starting_model` does.
    """
    with planned(model, stage, padding) as plan, TemporaryDirectory() as scratch:
        plan.describe(Path(scratch))
        dtype, weights = (
            (torch.float32, _drawn(plan.config, seed)) if model.weights == "random" else _weights(plan)
        )
        save_model(plan.config, weights, target, source=Path(scratch), dtype=dtype)


def _weights(plan: StartingPlan) -> tuple[torch.dtype, Iterator[tuple[str, Tensor]]]:
    """Return the type of the source's weights, and the weights, with rows for all tokens."""
    as_it_was = plan.config.model_copy(update={"vocab_size": plan.rows, "token_count": None})
    shapes = parameter_shapes(as_it_was)
    names = {checkpoint_name(plan.raw, name): name for name in shapes}
    if plan.file is not None:
        found = read_gguf_weights(plan.file)
        _check_shapes(plan.file, found, shapes)
        return torch.float32, _with_rows(plan, ((name, found[name]) for name in shapes))
    ignored = {checkpoint_name(plan.raw, "lm_head.weight")} - names.keys()
    stored = StoredWeights(plan.source, {theirs: shapes[ours] for theirs, ours in names.items()}, ignored)
    return stored.dtype, _with_rows(plan, ((names[theirs], tensor) for theirs, tensor in stored))


def _with_rows(plan: StartingPlan, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in weights:
        by_token = name in ("model.embed_tokens.weight", "lm_head.weight")
        yield name, _extended(plan, tensor) if by_token else tensor


def _extended(plan: StartingPlan, table: Tensor) -> Tensor:
    """Return a table with a row for every token; new ones have the mean of the others."""
    count = plan.config.token_count
    if count is None or count <= plan.tokens:
        return table
    extended = table.new_empty(plan.config.vocab_size, table.shape[1])
    extended[: len(table)] = table
    extended[plan.tokens : count] = table[: plan.tokens].float().mean(0).to(table.dtype)
    return extended


def _check_shapes(file: Path, weights: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    wrong = sorted(name for name in shapes if name not in weights or tuple(weights[name].shape) != shapes[name])
    if wrong:
        raise ModelError(f"model.path {str(file)!r}: lacks {wrong[0]}, or has it in another shape; fetch it again")


def _drawn(config: ModelConfig, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Draw the weights of a model."""
    model = MaskedDiffusionModel(config)
    initialize(model, torch.Generator().manual_seed(seed))
    yield from model.named_parameters()
