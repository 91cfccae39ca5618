"""Tokens on disk, read by memory map.

manifest.json         what was prepared, from what, and its counts
source-0/tokens.bin   the tokens of all documents of a source, one after the other
source-0/offsets.npy  [documents + 1], where each begins
source-0/prompts.npy  [documents], how many of its tokens are its prompt
source-0/digests.npy  [documents], a hash of its text
"""

from __future__ import annotations

import json
from array import array
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from learner.stages.corpus.encoding import EncodedDocument
from learner.stages.corpus.errors import CorpusError

_VERSION = 1
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class SourceCounts:
    """Counts of a prepared source.

    ``documents``, ``tokens`` and ``bytes`` (of UTF-8) are what was kept; ``dropped`` documents were too long
    and ``empty`` ones have no text. ``content`` is a hash of all that was kept.
    """

    path: str
    documents: int
    tokens: int
    bytes: int
    dropped: int
    empty: int
    content: str


@dataclass(frozen=True)
class Manifest:
    """The description of a prepared corpus.

    ``settings`` are those of the recipe that it was prepared with, ``inputs`` the files and the tokenizer, as
    JSON holds them. ``dtype`` is that of the tokens on disk; ``pad`` the token that examples are filled up with,
    None where they are not.
    """

    settings: dict[str, Any]
    inputs: dict[str, Any]
    dtype: str
    pad: int | None
    sources: tuple[SourceCounts, ...]

    def write(self, folder: Path) -> None:
        """Write it into the folder of the corpus."""
        text = json.dumps({"version": _VERSION, **asdict(self)}, indent=2)
        (folder / _MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a prepared corpus; None where there is none, or one of another version."""
    try:
        raw = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if raw.pop("version") != _VERSION:
            return None
        sources = tuple(SourceCounts(**counts) for counts in raw.pop("sources"))
        return Manifest(sources=sources, **raw)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


class SourceWriter:
    """Writes the documents of one source into ``folder``, tokens as they come and the rest at the end."""

    def __init__(self, folder: Path, dtype: str) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._dtype = np.dtype(dtype)
        self._file = (folder / "tokens.bin").open("wb")
        self._hash = blake2b(digest_size=16)
        self._offsets, self._prompts, self._digests = array("q", [0]), array("i"), array("Q")
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def tokens(self) -> int:
        """Tokens so far."""
        return self._offsets[-1]

    def add(self, encoded: EncodedDocument) -> None:
        """Append a document."""
        tokens = encoded.ids.astype(self._dtype)
        self._file.write(tokens.tobytes())
        self._hash.update(tokens.tobytes())
        self._offsets.append(self._offsets[-1] + len(tokens))
        self._prompts.append(encoded.prompt)
        self._digests.append(encoded.document.digest)
        self._bytes += encoded.document.bytes

    def finish(self, path: str, dropped: int, empty: int) -> SourceCounts:
        """Write what belongs to the tokens and return the counts of the source, which is called ``path``."""
        for name, values, dtype in (
            ("offsets", self._offsets, np.int64),
            ("prompts", self._prompts, np.int32),
            ("digests", self._digests, np.uint64),
        ):
            table = np.array(values, dtype=dtype)
            np.save(self._folder / f"{name}.npy", table)
            self._hash.update(table.tobytes())
        return SourceCounts(
            path=path,
            documents=len(self._prompts),
            tokens=self.tokens,
            bytes=self._bytes,
            dropped=dropped,
            empty=empty,
            content=self._hash.hexdigest(),
        )


class StoredSource:
    """The documents of one source, mapped from the disk. Raises :class:`CorpusError` for files that are not whole.

    ``offsets`` [documents + 1], ``prompts`` and ``digests`` [documents] are as the module says.
    """

    def __init__(self, folder: Path, dtype: str, counts: SourceCounts) -> None:
        try:
            self._tokens = np.memmap(folder / "tokens.bin", dtype=dtype, mode="r")
            self.offsets: npt.NDArray[np.int64] = np.load(folder / "offsets.npy", mmap_mode="r")
            self.prompts: npt.NDArray[np.int32] = np.load(folder / "prompts.npy", mmap_mode="r")
            self.digests: npt.NDArray[np.uint64] = np.load(folder / "digests.npy", mmap_mode="r")
            whole = len(self._tokens) == counts.tokens and all(
                len(table) == counts.documents for table in (self.offsets[1:], self.prompts, self.digests)
            )
        except (OSError, ValueError) as error:
            raise _damaged(folder) from error
        if not whole:
            raise _damaged(folder)

    def read(self, document: int, first: int, last: int | None) -> npt.NDArray[np.int64]:
        """Return the tokens ``first`` to ``last`` (exclusive; None: to its end) of a document."""
        begin, end = int(self.offsets[document]), int(self.offsets[document + 1])
        return np.asarray(self._tokens[begin:end][first:last], dtype=np.int64)


def source_folder(folder: Path, number: int) -> Path:
    """Return where the tokens of a source lie in the folder of a corpus."""
    return folder / f"source-{number}"


def _damaged(folder: Path) -> CorpusError:
    return CorpusError(f"{folder}: tokens are missing; remove {folder.parent}, and they are prepared anew")
