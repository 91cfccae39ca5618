"""Weights of a run as a model folder: at its end, or out of a checkpoint."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.config import EngineConfig
from common.models.config import ModelConfig
from common.models.loading import load_model, save_model
from common.models.shapes import parameter_shapes
from learner.checkpoints import CheckpointError
from learner.preparation import merged_parameters, prepare

#: Finds a weight by its name and shape.
SavedWeight = Callable[[str, tuple[int, ...]], Tensor]

#: DeepSpeed's file of the weights that every rank holds whole: up to ZeRO stage 2.
_WHOLE = "mp_rank_00_model_states.pt"
#: What the policy, which a checkpoint is of, calls the model's parameters.
_PREFIX = "model."


def export_model(
    config: EngineConfig,
    model: ModelConfig,
    parameters: Iterable[tuple[str, Tensor]],
    source: Path,
    folder: Path,
) -> None:
    """Write a model folder in the format of ``source``, the folder that the run started from. Atomic.

    Adapters, which are added in fp32, are rounded here as they are for the workers.
    """
    dtype = torch.bfloat16 if config.weights_dtype == "bfloat16" else torch.float32
    save_model(model, parameters, folder, source, dtype)


def export_checkpoint(checkpoint: Path, config: EngineConfig, source: Path, folder: Path) -> None:
    """Write the model folder that the run of a checkpoint would have exported where it was written. Atomic.

    Needs no process group and no GPU. The files of the ranks are mapped into memory and the weights written one
    after the other; with adapters the model is held once. Raises :class:`CheckpointError`.
    """
    model = ModelConfig.from_folder(source)
    saved = _saved_weights(checkpoint, config.zero_stage)
    parameters = _plain(model, saved) if config.lora is None else _merged(config, source, saved)
    export_model(config, model, parameters, source, folder)


def _plain(model: ModelConfig, saved: SavedWeight) -> Iterator[tuple[str, Tensor]]:
    return ((name, saved(name, shape)) for name, shape in parameter_shapes(model).items())


def _merged(config: EngineConfig, source: Path, saved: SavedWeight) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights of a model with the adapters of a checkpoint added to them."""
    model = load_model(str(source))
    as_trained = config.model_copy(update={"compile": False, "deterministic": False})
    prepare(model, as_trained, seed=0)  # what is drawn for the adapters is replaced
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(saved(name, tuple(parameter.shape)))
    return merged_parameters(model)


def _saved_weights(checkpoint: Path, zero_stage: int) -> SavedWeight:
    """Return what finds a weight of a checkpoint by its name and shape."""
    engine = checkpoint / "engine"
    try:
        if zero_stage < 3:
            held: Any = torch.load(engine / _WHOLE, map_location="cpu", mmap=True, weights_only=False)["module"]
        else:
            held = _gathered(checkpoint)
    except (OSError, ValueError, TypeError, LookupError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{checkpoint}: not a usable checkpoint: {error}; give another one of the run"
        ) from error

    def weight(name: str, shape: tuple[int, ...]) -> Tensor:
        found = held.get(_PREFIX + name)
        if found is None or tuple(found.shape) != shape:
            there = "none of that name" if found is None else tuple(found.shape)
            raise CheckpointError(
                f"{checkpoint}: of weight {name}, {shape} in the model that the run started from, it holds "
                f"{there}; bring back the model.path and the config.yaml of that run"
            )
        whole: Tensor = found.contiguous()
        return whole

    return weight


def _gathered(checkpoint: Path) -> Any:
    """Return what gathers the weights of ZeRO stage 3, by name, from the parts of all ranks."""
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    with redirect_stdout(io.StringIO()):  # it tells of itself
        return get_fp32_state_dict_from_zero_checkpoint(str(checkpoint), tag="engine", lazy_mode=True)
