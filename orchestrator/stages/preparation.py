"""What the ranks of a stage start from: a starting model and a prepared corpus, in the run's folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.config import StageConfig
from common.models.config import ModelConfig
from common.models.folder import load_tokenizer, model_folder
from learner.stages.corpus import Corpus, prepare
from learner.stages.starting_plan import needs_starting_model

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
    *,
    resumed: bool,
) -> Prepared:
    """Make the starting model and the corpus in ``folder``.

    The starting model of an earlier attempt is kept where the run is ``resumed`` from a checkpoint, whose settings
    name the same model; before the first checkpoint they may have changed. ``show`` is told what is being done;
    ``check_stop`` is called meanwhile and may raise. Raises CorpusError or ModelError.
    """
    model, target = config.model.path, folder / START
    if not resumed:
        shutil.rmtree(target, ignore_errors=True)
    if needs_starting_model(config.model, config.stage, config.data.padding):
        if not target.exists():
            # torch: only for the runs whose model has to be made.
            from learner.stages.starting_model import make_starting_model

            show("making the starting model")
            make_starting_model(config.model, config.stage, config.data.padding, config.run.seed, target)
        model = str(target)
    check_stop()
    show("preparing the data")
    model_config = ModelConfig.from_folder(model_folder(model))
    data = prepare(config, load_tokenizer(model), model_config, folder / DATA, _Progress(show, check_stop))
    return Prepared(model, data, Corpus.open(data, config))


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
            self._show(f"preparing the data: {what}, {count:,} tokens so far")
