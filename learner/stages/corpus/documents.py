"""What a corpus is read from: documents, one after the other, never all in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from common.config import CorpusSource
from common.tasks.rows import TaskFileError, TaskRow, rows_in
from learner.stages.corpus.errors import CorpusError
from learner.stages.corpus.files import is_of_rows


@dataclass(frozen=True)
class Document:
    """A document, or an example of supervised fine-tuning.

    ``place`` says where it stands. The model reads ``prompt`` and learns to write ``text``; the prompt of a
    document is empty. ``digest`` is a hash (64 bits) of its content alone, whatever the model and the template.
    """

    place: str
    text: str
    digest: int
    prompt: str = ""

    @property
    def bytes(self) -> int:
        """Its size in UTF-8."""
        return len(self.prompt.encode("utf-8")) + len(self.text.encode("utf-8"))


def read_documents(source: CorpusSource, files: Sequence[Path]) -> Iterator[Document]:
    """Read the documents in the files of a source. Raises :class:`CorpusError`."""
    for path in files:
        if is_of_rows(path):
            for row in read_rows(path):
                text = text_of(row, source.text, "text")
                place = place_of(row)
                yield Document(place, text, digest_of(place, text))
        else:
            text = _whole(path)
            yield Document(str(path), text, digest_of(str(path), text))


def read_rows(path: Path) -> Iterator[TaskRow]:
    """Read the rows of a file. Raises :class:`CorpusError`."""
    try:
        yield from rows_in(path)
    except TaskFileError as error:
        raise CorpusError(str(error)) from error
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error}; give this process the right to") from error


def place_of(row: TaskRow) -> str:
    """Return the file and line of a row."""
    return f"{row.path}, {row.place}"


def text_of(row: TaskRow, column: str, setting: str) -> str:
    """Return the text in a column, which ``setting`` of the source names. Raises :class:`CorpusError`."""
    if row.name_of(column) is None:
        raise CorpusError(
            f"{place_of(row)}: no value in column {column!r}, only in {', '.join(_filled(row)) or 'none'}; give "
            f"the source as {{path: {row.path}, {setting}: COLUMN}}, or leave the row out"
        )
    try:
        return row.text(column) or ""
    except TaskFileError as error:
        raise CorpusError(str(error)) from error


def digest_of(place: str, *texts: str) -> int:
    """Hash texts to 64 bits. Raises :class:`CorpusError` for text that cannot be UTF-8."""
    digest = blake2b(digest_size=8)
    for number, text in enumerate(texts):
        if number:
            digest.update(b"\0")
        try:
            digest.update(text.encode("utf-8"))
        except UnicodeEncodeError as error:
            raise CorpusError(
                f"{place}: the text is not UTF-8: character {error.start} is half of a surrogate pair "
                f"({text[error.start]!r}); write the whole character, or leave it out"
            ) from error
    return int.from_bytes(digest.digest(), "little")


def _filled(row: TaskRow) -> list[str]:
    return [name for name, value in row.fields.items() if value is not None]


def _whole(path: Path) -> str:
    """Read a text file, with newlines as Python reads them and without a byte-order mark."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error}; give this process the right to") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise CorpusError(
            f"{path}, line {line}: not UTF-8 (byte {raw[error.start]:#04x}); convert the file, or leave it out by "
            "files of its data.sources"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
