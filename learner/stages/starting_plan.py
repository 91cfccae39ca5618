"""The model that a stage starts from, where the checkpoint as it is will not do.

A causal checkpoint becomes a masked-diffusion model: the weights stay, a token that masks is added, and the folder
says how its logits are read (shifted by one, as in the model that it was). A masked-diffusion checkpoint may be
given a token to pad with. Either may be taken for its architecture and tokenizer alone, with weights drawn anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common.config.stages import Stage, StageModelConfig
from common.models.config import ModelConfig, read_config
from common.models.families import (
    SECTION,
    ModelError,
    is_causal,
    stated_fields,
    stock_family,
    with_rows,
)
from common.models.folder import model_folder
from common.models.tokenizer import read_tokenizer, special_tokens
from learner.stages.gguf import unpack_description
from learner.stages.special_tokens import declare_mask_token, declare_pad_token


def is_gguf(path: str) -> bool:
    """Return whether ``model.path`` names a file of llama.cpp's format rather than a folder or a Hub name."""
    return path.endswith(".gguf")


def needs_starting_model(model: StageModelConfig, stage: Stage, padding: str) -> bool:
    """Return whether the stage cannot start from ``model.path`` as it is; writes nothing.

    ``padding`` is ``data.padding``. Raises :class:`ModelError` for a model or token that cannot be used.
    """
    with planned(model, stage, padding) as plan:
        return plan.differs


def starting_config(model: StageModelConfig, stage: Stage, padding: str) -> ModelConfig:
    """Return the configuration of the model that the stage starts from; writes nothing.

    Raises :class:`ModelError` as :func:`needs_starting_model` does.
    """
    with planned(model, stage, padding) as plan:
        return plan.config


@dataclass(frozen=True)
class StartingPlan:
    """How a starting model is made from a source.

    ``raw`` is what its config.json is to say, in the source's format, and ``rows`` are those of the source's
    embedding, of which ``tokens`` are tokens. ``file`` is the source where that is no folder.
    """

    source: Path
    file: Path | None
    raw: Mapping[str, Any]
    config: ModelConfig
    tokenizer: Any
    rows: int
    tokens: int
    differs: bool

    def describe(self, folder: Path) -> None:
        """Write all but the weights."""
        self.tokenizer.save_pretrained(folder)
        (folder / "config.json").write_text(json.dumps(self.raw, indent=2) + "\n")
        for file in (*self.source.glob("*.py"), *self.source.glob("generation_config.json")):
            shutil.copyfile(file, folder / file.name)


@contextmanager
def planned(model: StageModelConfig, stage: Stage, padding: str) -> Iterator[StartingPlan]:
    """Look at the source and decide on everything but the weights."""
    with TemporaryDirectory() as scratch:
        file = Path(model.path) if is_gguf(model.path) else None
        if file is not None:
            source = Path(scratch)
            unpack_description(file, source)
        else:
            source = model_folder(model.path, weights=model.weights == "pretrained")
        raw = read_config(source)
        try:
            causal = is_causal(raw)
        except ValueError as error:
            raise ModelError(f"{source / 'config.json'}: {error}") from error
        _check_stage(model, stage, causal)
        plan = _adapted if causal else _continued
        yield plan(model, padding, source, file, raw)


def _check_stage(model: StageModelConfig, stage: Stage, causal: bool) -> None:
    if stage == "adapt" and not causal:
        raise ModelError(
            f"model.path {model.path!r}: is a masked-diffusion model already, and adapt is for causal ones; go on "
            "with couplet pretrain or couplet sft"
        )
    if stage != "adapt" and causal and model.weights == "pretrained":
        raise ModelError(
            f"model.path {model.path!r}: is a causal model; adapt it first (couplet adapt), or set model.weights: "
            "random to train its architecture from nothing"
        )


def _adapted(
    model: StageModelConfig, padding: str, source: Path, file: Path | None, raw: dict[str, Any]
) -> StartingPlan:
    """Plan how a causal model becomes one of masked diffusion."""
    family = stock_family(raw)
    assert family is not None, "only a stock model is causal"
    tokenizer = _tokenizer(source, family)
    before = special_tokens(tokenizer, family)
    rows = raw.get("vocab_size")
    if not isinstance(rows, int) or rows < before.count:
        raise ModelError(
            f"{source / 'config.json'}: vocab_size is {rows} and the tokenizer has {before.count} tokens; take "
            "the tokenizer that the model was trained with"
        )
    mask = declare_mask_token(tokenizer, family, model.mask_token)
    ids = {"mask_token_id": mask, "eos_token_id": _end_of_text(source, raw, before.eos)}
    stated_pad = raw.get("pad_token_id")
    ids["pad_token_id"] = before.pad if stated_pad is None else stated_pad
    if padding == "learned" and model.pad_token is not None:
        ids["pad_token_id"] = declare_pad_token(tokenizer, family, model.pad_token)
    known = special_tokens(tokenizer, family)
    section = {
        "family": family,
        "shift": True,
        "end_of_turn_token_id": known.end_of_turn,
        "token_count": known.count,
    }
    adapted = raw | ids | {"vocab_size": max(rows, known.count), SECTION: section}
    config = ModelConfig.from_json(adapted, source)
    return _checked(StartingPlan(source, file, adapted, config, tokenizer, rows, before.count, differs=True))


def _continued(
    model: StageModelConfig, padding: str, source: Path, file: Path | None, raw: dict[str, Any]
) -> StartingPlan:
    """Plan how a masked-diffusion model is given a token to pad with, if it lacks the one that is asked for."""
    stated = ModelConfig.from_folder(source)
    tokenizer = _tokenizer(source, stated.family)
    count = special_tokens(tokenizer, stated.family).count
    mask = tokenizer.convert_ids_to_tokens(stated.mask_token_id)
    if model.mask_token not in (None, mask):
        raise ModelError(
            f"model.mask_token {model.mask_token!r}: the model masks with {mask!r}; leave the field out"
        )
    plan = StartingPlan(
        source, file, raw, stated, tokenizer, stated.vocab_size, count, differs=model.weights == "random"
    )
    if padding != "learned" or model.pad_token is None:
        return _checked(plan)
    pad = declare_pad_token(tokenizer, stated.family, model.pad_token)
    if pad == stated.pad_token_id:
        return _checked(plan)
    tokens = special_tokens(tokenizer, stated.family).count
    rows = max(stated.vocab_size, tokens)
    described = raw | {"pad_token_id": pad}
    if rows > stated.vocab_size:
        described = with_rows(described, rows)
        if stated_fields(described)["vocab_size"] != rows:
            raise ModelError(
                f"model.pad_token {model.pad_token!r}: family {stated.family!r} does not say in which keys of "
                "config.json a larger vocabulary is stated (Family.rows_keys); name a token that the model has"
            )
    if SECTION in raw:
        described[SECTION] = raw[SECTION] | {"token_count": tokens}
    changes = {"pad_token_id": pad, "vocab_size": rows, "token_count": tokens}
    config = ModelConfig.model_validate(stated.model_dump() | changes)
    return _checked(replace(plan, raw=described, config=config, differs=True))


def _tokenizer(source: Path, family: str) -> Any:
    tokenizer = read_tokenizer(source, family)
    if tokenizer is None:
        raise ModelError(f"{source}: no tokenizer: needs tokenizer.json, or vocab.json and merges.txt")
    return tokenizer


def _end_of_text(source: Path, raw: Mapping[str, Any], declared: int | None) -> Any:
    """Return the id of the end of text: of several that a config.json may list, the one the tokenizer declares."""
    stated = raw.get("eos_token_id")
    if stated is None:
        stated = declared
    if stated is None or (isinstance(stated, list) and declared not in stated):
        raise ModelError(
            f"{source / 'config.json'}: eos_token_id is {stated} and the tokenizer declares {declared}; state the "
            "token that ends texts in both"
        )
    return declared if isinstance(stated, list) else stated


def _checked(plan: StartingPlan) -> StartingPlan:
    try:
        special_tokens(plan.tokenizer, plan.config.family).check(plan.config.model_dump())
    except ValueError as error:
        raise ModelError(f"{plan.source}: {error}") from error
    return plan
