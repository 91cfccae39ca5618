"""What the ranks of a stage start from: a starting model and a prepared corpus, in the run's folder."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.config import StageConfig
from common.models.config import ModelConfig
from common.models.loading import load_tokenizer, model_folder
from learner.stages.corpus import Corpus, prepare
from learner.stages.starting_model import make_starting_model, needs_starting_model
from orchestrator.run_folder import write_text

#: Where the corpus lies in a run's folder, unless it is in ``data.cache``.
DATA = "data"
#: Where the starting model lies in a run's folder, if one had to be made.
START = "start"
#: Seconds between two lines about a preparation.
_LINE_SECONDS = 5.0


@dataclass(frozen=True)
class Prepared:
    """``model``: the starting model, by its folder or name. ``data``: the folder of ``corpus``."""

    model: str
    data: Path
    corpus: Corpus


def prepare_stage(
    config: StageConfig,
    folder: Path,
    show: Callable[[str], None],
    check_stop: Callable[[], None],
) -> Prepared:
    """Make the starting model and the corpus in ``folder``, unless an earlier attempt at the run has.

    ``show`` is told what is being done; ``check_stop`` is called meanwhile and may raise. Raises CorpusError or
    ModelError.
    """
    model = _starting_model(config, folder, show)
    check_stop()
    show("preparing the data")
    model_config = ModelConfig.from_folder(model_folder(model))
    data = prepare(config, load_tokenizer(model), model_config, folder / DATA, _Progress(show, check_stop))
    return Prepared(model, data, Corpus.open(data, config))


def _starting_model(config: StageConfig, folder: Path, show: Callable[[str], None]) -> str:
    """Return the path of the model to start from: ``start`` in ``folder`` if one has to be made.

    An attempt that trained nothing may have left one there that was made with other settings.
    """
    target, recipe = folder / START, folder / START / "made_of.json"
    if not needs_starting_model(config.model, config.stage, config.data.padding):
        shutil.rmtree(target, ignore_errors=True)
        return config.model.path
    asked = config.model.model_dump(include={"path", "weights", "mask_token", "pad_token"})
    made_of = json.dumps(asked | {"padding": config.data.padding, "seed": config.run.seed}) + "\n"
    if not recipe.is_file() or recipe.read_text() != made_of:
        show("making the starting model")
        make_starting_model(config.model, config.stage, config.data.padding, config.run.seed, target)
        write_text(recipe, made_of)
    return str(target)


class _Progress:
    """Tell how far a preparation is, every few seconds."""

    def __init__(self, show: Callable[[str], None], check_stop: Callable[[], None]) -> None:
        self._show = show
        self._check_stop = check_stop
        self._told = time.monotonic()

    def __call__(self, what: str, count: int) -> None:
        self._check_stop()
        if time.monotonic() - self._told > _LINE_SECONDS:
            self._told = time.monotonic()
            self._show(f"preparing the data: {what}, {count:,}")
