"""Preparation of a corpus: its documents become tokens on disk, once."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

from common.config import CorpusSource, Stage, StageConfig
from common.disk import replaced_folder, writing
from common.models.chat import ChatTemplate
from common.models.config import ModelConfig
from learner.disk import sync, sync_tree
from learner.stages.corpus.corpus import Corpus, preparation_settings
from learner.stages.corpus.documents import Document, read_documents
from learner.stages.corpus.encoding import DocumentEncoder, EncodedDocument
from learner.stages.corpus.errors import CorpusError
from learner.stages.corpus.examples import read_examples
from learner.stages.corpus.files import ROW_SUFFIXES, TEXT_SUFFIXES, files_of
from learner.stages.corpus.hub import HUB
from learner.stages.corpus.store import Manifest, SourceCounts, SourceWriter, read_manifest, source_folder

#: Tokens below this take two bytes.
_TWO_BYTES = 1 << 16

_SUFFIXES: dict[Stage, tuple[str, ...]] = {
    "adapt": (*ROW_SUFFIXES, *TEXT_SUFFIXES),
    "pretrain": (*ROW_SUFFIXES, *TEXT_SUFFIXES),
    "sft": ROW_SUFFIXES,
}

#: Told the path of a source and how many of its tokens are written.
Progress = Callable[[str, int], None]


def check_sources(config: StageConfig) -> None:
    """Check that every source has files that can be read; data sets on the Hub are left for the preparation.

    Reads none of them. Raises :class:`CorpusError`.
    """
    for source in config.data.sources:
        if not source.path.startswith(HUB):
            files_of(source, _SUFFIXES[config.stage])


def prepare(
    config: StageConfig, tokenizer: Any, model_config: ModelConfig, folder: Path, progress: Progress
) -> Path:
    """Prepare the corpus of a run and return where it lies, which :meth:`Corpus.open` then opens.

    It lies in ``folder``, or in one of ``data.cache`` that is named by what it was made of, so that runs on other
    data, or with another tokenizer, have others there. What lies there is kept if it was made of the same files
    (by path, size and time of change) with the same tokenizer and settings, and replaced as a whole otherwise.
    ``progress`` is told after every batch of documents. Raises :class:`CorpusError` for data that cannot be used,
    or :class:`DiskError`, and leaves what is there as it was.
    """
    preparation = _Preparation(config, tokenizer, model_config)
    cache = config.data.cache
    target = folder if cache is None else cache.expanduser().resolve() / preparation.name
    with _alone(target):
        present = read_manifest(target)
        if present is not None and preparation.made(present):
            Corpus.open(target, config)
            return target
        with writing("the tokens of data.sources", target), replaced_folder(target) as temporary:
            preparation.write(temporary, progress)
            Corpus.open(temporary, config)
            sync_tree(temporary)
        sync(target.parent)
    return target


class _Preparation:
    """What a corpus is made of, all of it checked before the first document is read."""

    def __init__(self, config: StageConfig, tokenizer: Any, model: ModelConfig) -> None:
        self._config, self._data = config, config.data
        self._template = ChatTemplate(tokenizer, config.data.chat_template_file)
        for_examples = config.stage == "sft"
        self._files = [files_of(source, _SUFFIXES[config.stage]) for source in self._data.sources]
        end = model.eos_token_id
        if for_examples and self._template.text is not None and model.end_of_turn_token_id is not None:
            end = model.end_of_turn_token_id
        self._encoder = DocumentEncoder(tokenizer, model, end)
        self._pad = _pad(tokenizer, model) if self._data.padding == "learned" else None
        self._dtype = "uint16" if model.vocab_size <= _TWO_BYTES else "uint32"
        self._inputs = {
            "tokenizer": blake2b(tokenizer.backend_tokenizer.to_str().encode(), digest_size=16).hexdigest(),
            "model": [model.vocab_size, model.token_count, model.mask_token_id, end],
            "template": self._template.text if for_examples else None,
            "files": [[_stamp(path) for path in files] for files in self._files],
        }

    @property
    def name(self) -> str:
        """A hash of all that the corpus is made of."""
        return blake2b(json.dumps(self._facts, sort_keys=True).encode(), digest_size=8).hexdigest()

    def made(self, manifest: Manifest) -> bool:
        """Return whether a corpus was made of just this."""
        return [manifest.settings, manifest.inputs, manifest.dtype, manifest.pad] == self._facts

    @property
    def _facts(self) -> list[Any]:
        return [preparation_settings(self._config), self._inputs, self._dtype, self._pad]

    def write(self, folder: Path, progress: Progress) -> None:
        """Write the corpus into an empty folder."""
        counts = [
            self._write_source(source_folder(folder, number), source, files, progress)
            for number, (source, files) in enumerate(zip(self._data.sources, self._files, strict=True))
        ]
        settings = preparation_settings(self._config)
        Manifest(settings, self._inputs, self._dtype, self._pad, tuple(counts)).write(folder)

    def _write_source(
        self, folder: Path, source: CorpusSource, files: Sequence[Path], progress: Progress
    ) -> SourceCounts:
        dropped = empty = 0
        with SourceWriter(folder, self._dtype) as writer:
            for batch in self._encoder.batches(self._documents(source, files)):
                for encoded in batch:
                    if len(encoded.ids) == 1:
                        empty += 1
                    elif self._fits(encoded):
                        writer.add(encoded)
                    else:
                        dropped += 1
                progress(source.path, writer.tokens)
            counts = writer.finish(source.path, dropped, empty)
        if not counts.documents:
            why = f": {dropped} documents were too long and {empty} without text" if dropped or empty else ""
            raise CorpusError(
                f"data.sources {source.path}: nothing to train on{why}; give it documents, or leave it out"
            )
        return counts

    def _documents(self, source: CorpusSource, files: Sequence[Path]) -> Iterator[Document]:
        if self._config.stage == "sft":
            return read_examples(source, files, self._template, self._data.system_prompt)
        return read_documents(source, files)

    def _fits(self, encoded: EncodedDocument) -> bool:
        """Return whether a document is to be kept; raise CorpusError where one too long is refused."""
        longest = self._data.context_length
        if len(encoded.ids) <= longest or self._data.long_documents == "cut":
            return True
        if self._data.long_documents == "drop":
            return False
        if encoded.prompt >= longest:
            problem = f"the prompt alone has {encoded.prompt:,} tokens, which leaves no room for the answer"
        else:
            problem = f"has {len(encoded.ids):,} tokens with the one that ends it"
        ways = "drop" if self._config.stage == "sft" else "cut or drop"
        raise CorpusError(
            f"{encoded.document.place}: {problem}, and data.context_length is {longest:,}; raise that, or set "
            f"data.long_documents to {ways}"
        )


def _pad(tokenizer: Any, model: ModelConfig) -> int:
    if tokenizer.pad_token_id is None:
        raise CorpusError(
            "data.padding: learned needs a pad token and the tokenizer has none; name one in model.pad_token, "
            "such as <|dlm_pad|>"
        )
    return model.pad_token_id


def _stamp(path: Path) -> list[Any]:
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns]


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep others from preparing the same folder. Raises :class:`CorpusError` while another does."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.with_name(f".{target.name}.lock").open("w")
    except OSError as error:
        raise CorpusError(
            f"{target.parent}: cannot be written: {error}; set data.cache to another folder"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CorpusError(
                f"{target}: another run is preparing its data there; start again when it is done, or give this "
                "run another data.cache"
            ) from error
        yield
