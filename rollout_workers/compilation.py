"""When compiling the passes over the vocabulary pays, by counts known beforehand, and where the result is kept."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch

from common.config import Config
from common.records import Sampler
from common.sampler import RANDOM_DECODERS
from rollout_workers.schedule import budgets

_LOG = logging.getLogger(__name__)

#: Logits from which compiling pays: it takes about a minute of a core, and saves some nanoseconds a logit.
WORTH_LOGITS = 10**10
#: The compiler's own setting; who sets it chooses the folder.
_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def scored_logits(sampler: Sampler, vocabulary: int, completions: int) -> int:
    """Count the logits that denoising so many completions goes over, if every one runs to its end."""
    if sampler.decoder in RANDOM_DECODERS:
        return completions * sampler.completion_length * vocabulary
    counts = budgets(sampler)
    block = sampler.block_length or sampler.completion_length
    positions, masked = 0, 0
    for count in counts:
        masked = masked or block
        positions += masked
        masked -= count
    return completions * positions * vocabulary


def expected_completions(config: Config) -> int | None:
    """Count the training completions of one rollout worker's share of the run; None where the run's length is not
    known."""
    if config.run.steps is None:
        return None
    rollout = config.rollout
    return config.run.steps * config.learner.groups_per_step * rollout.group_size // rollout.workers


def keep_compiled() -> Path | None:
    """Have the compiler keep what it makes in the user's cache folder, for later processes; return that folder.

    There is one for each number of threads: code that was compiled for one thread runs on one, and the compiler's
    own cache has been seen to give it to processes of two. None, and the compiler's own folder among temporary
    files, where the user's cannot be written. A folder that the environment names is used as it is.
    """
    if (named := os.environ.get(_VARIABLE)) and not _is_compilers_own(named):
        return Path(named)
    try:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(caches) / "couplet" / "compiled" / f"{torch.get_num_threads()}-threads"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a user without a home
        return None
    if not os.access(folder, os.W_OK):
        return None
    os.environ[_VARIABLE] = str(folder)
    return folder


def warn_uncompiled(what: str, error: Exception) -> None:
    """Say that something runs as plain torch, as the compiler failed with ``error``."""
    reason = " ".join(str(error).strip().splitlines()[:2])  # the first one may only say which part of it failed
    _LOG.warning("%s run uncompiled and slower; torch.compile says: %s", what, reason)


def _is_compilers_own(folder: str) -> bool:
    """Tell whether it is the folder that the compiler writes into the environment when something imports it.

    Parts of transformers do, and nobody has chosen that folder then.
    """
    # Takes seconds to import, where nothing has imported the compiler yet.
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    return folder == os.path.abspath(default_cache_dir())
