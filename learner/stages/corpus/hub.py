"""Data sets on the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from learner.stages.corpus.errors import CorpusError

#: What a path begins with that is the name of a data set on the Hub.
HUB = "hub:"


def dataset_folder(path: str, patterns: Sequence[str]) -> Path:
    """Download the files of a data set that match ``patterns``, unless they are in the cache; return their folder.

    Raises :class:`CorpusError` where neither the Hub nor the cache gives them.
    """
    # Here, since only this needs it and its import takes a second.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            path.removeprefix(HUB), repo_type="dataset", allow_patterns=[str(pattern) for pattern in patterns]
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CorpusError(
            f"data.sources {path}: no data set that the Hub gives: {error}; check its name, or download it and "
            "give the folder"
        ) from error
    return Path(folder)
