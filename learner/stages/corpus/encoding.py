"""Documents to tokens, with the tokenizer of the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from common.models.chat import prompt_ids
from common.models.config import ModelConfig
from learner.stages.corpus.documents import Document
from learner.stages.corpus.errors import CorpusError

_BATCH_DOCUMENTS = 256
_BATCH_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class EncodedDocument:
    """A document as ``ids`` [l], of which the first ``prompt`` are its prompt and the last is ``end``."""

    document: Document
    ids: npt.NDArray[np.int64]
    prompt: int


class DocumentEncoder:
    """Encodes documents and puts the token ``end`` after each.

    A document's text never becomes a special token, whatever it says. Prompts are encoded as in reinforcement
    learning, where the special tokens that a template writes are tokens.
    """

    def __init__(self, tokenizer: Any, model: ModelConfig, end: int) -> None:
        self._tokenizer = tokenizer
        self._tokens = model.vocab_size if model.token_count is None else model.token_count
        self._mask = model.mask_token_id
        self._end = end

    def batches(self, documents: Iterable[Document]) -> Iterator[list[EncodedDocument]]:
        """Encode documents in their order, some at a time; one without any token becomes ``end`` alone.

        Raises :class:`CorpusError` for tokens that are not in the model's vocabulary, and for the mask token.
        """
        for batch in _batches(documents):
            texts = self._tokenizer(
                [document.text for document in batch],
                add_special_tokens=False,
                split_special_tokens=True,
                return_attention_mask=False,
                verbose=False,
            )["input_ids"]
            prompts = prompt_ids(self._tokenizer, [document.prompt for document in batch])
            yield [self._encoded(*each) for each in zip(batch, prompts, texts, strict=True)]

    def _encoded(self, document: Document, prompt: Sequence[int], text: Sequence[int]) -> EncodedDocument:
        ids = np.array([*prompt, *text, self._end], dtype=np.int64)
        self._check(document, ids)
        return EncodedDocument(document, ids, len(prompt))

    def _check(self, document: Document, ids: npt.NDArray[np.int64]) -> None:
        highest = int(ids.max())
        if highest >= self._tokens:
            raise CorpusError(
                f"{document.place}: token {self._named(highest)} lies outside the model's vocabulary of "
                f"{self._tokens} tokens; give model.path the tokenizer that the model was trained with"
            )
        if (ids == self._mask).any():
            raise CorpusError(
                f"{document.place}: holds {self._named(self._mask)}, which is the mask token; name in "
                "model.mask_token one that no text uses, or leave the document out"
            )

    def _named(self, token: int) -> str:
        return f"{self._tokenizer.convert_ids_to_tokens(token)!r} ({token})"


def _batches(documents: Iterable[Document]) -> Iterator[Sequence[Document]]:
    """Group documents so that the tokenizer's threads have work and memory stays small."""
    batch: list[Document] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text)
        if len(batch) == _BATCH_DOCUMENTS or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
