"""A prepared corpus: what every step of a run trains on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.config import StageConfig
from common.mixture import Mixture
from learner.stages.corpus.errors import CorpusError
from learner.stages.corpus.store import Manifest, SourceCounts, StoredSource, read_manifest, source_folder
from learner.stages.corpus.streams import ExampleStream, PackedStream, Pool, Stream, example, packed
from learner.stages.segments import CorpusPosition, Segment


@dataclass(frozen=True)
class SourceSummary:
    """Counts of a source: its documents and tokens that are trained on, those held out, and what was left out.

    ``bytes`` is the size of both in UTF-8; ``dropped`` documents were too long and ``empty`` ones have no text.
    """

    path: str
    documents: int
    tokens: int
    held_out_documents: int
    held_out_tokens: int
    dropped: int
    empty: int
    bytes: int


@dataclass(frozen=True)
class CorpusSummary:
    """Counts of a corpus, as of :class:`SourceSummary`, over all its sources and by source."""

    documents: int
    tokens: int
    held_out_documents: int
    held_out_tokens: int
    dropped: int
    empty: int
    bytes: int
    sources: tuple[SourceSummary, ...]

    @classmethod
    def of(cls, sources: Sequence[SourceSummary]) -> CorpusSummary:
        """Add up the counts of sources."""
        names = [name for name in cls.__dataclass_fields__ if name != "sources"]
        totals = {name: sum(getattr(source, name) for source in sources) for name in names}
        return cls(**totals, sources=tuple(sources))

    def as_record(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        """Say it in one line, with what was left out."""
        parts = [
            f"{self.documents:,} documents of {self.tokens:,} tokens",
            f"{self.held_out_documents:,} of {self.held_out_tokens:,} held out",
        ]
        if self.dropped:
            parts.append(f"{self.dropped:,} left out as longer than data.context_length")
        if self.empty:
            parts.append(f"{self.empty:,} left out without text")
        return "; ".join(parts)


class Corpus:
    """The segments of any step, as a function of the configuration, the prepared tokens and the step alone.

    ``fingerprint`` is a hash of the prepared tokens and of which documents are held out. ``epoch_steps`` is the
    number of steps that train on as many tokens (examples, in ``sft``) as the corpus has.
    """

    def __init__(self, stored: Sequence[StoredSource], manifest: Manifest, config: StageConfig) -> None:
        data = config.data
        held_out = [_held_out(source.digests, data.held_out_share) for source in stored]
        self.summary = CorpusSummary.of(
            [_summary(*each) for each in zip(manifest.sources, stored, held_out, strict=True)]
        )
        _check_sides(self.summary, data.held_out_share)
        facts = [[source.content for source in manifest.sources], manifest.pad, data.held_out_share]
        self.fingerprint = blake2b(json.dumps(facts).encode(), digest_size=8).hexdigest()
        self._sequences = config.learner.sequences_per_step
        self._length = data.context_length
        self._for_examples = config.stage == "sft"
        self._padding = None if manifest.pad is None else (manifest.pad, self._length)
        training = [(number, np.flatnonzero(~out)) for number, out in enumerate(held_out)]
        weights = [source.weight for source in data.sources if source.weight is not None]
        parts = [[each] for each in training] if weights else [training]
        self._streams = [
            self._stream(Pool.of(stored, part), config.run.seed, label) for label, part in enumerate(parts)
        ]
        self._mixture = Mixture(weights or [1.0], config.run.seed)
        self._held_out = _in_order_of_digests(stored, held_out)
        self.epoch_steps = sum(stream.epoch_sequences for stream in self._streams) / self._sequences

    @classmethod
    def open(cls, folder: Path, config: StageConfig) -> Corpus:
        """Open what :func:`prepare` made for a run of this configuration. Raises :class:`CorpusError`."""
        manifest = read_manifest(folder)
        if manifest is None:
            raise CorpusError(f"{folder}: no prepared corpus; start the run again, which prepares it")
        if manifest.settings != preparation_settings(config):
            raise CorpusError(
                f"{folder}: prepared with other settings of data; start the run again, which prepares it anew"
            )
        stored = [
            StoredSource(source_folder(folder, number), manifest.dtype, counts)
            for number, counts in enumerate(manifest.sources)
        ]
        return cls(stored, manifest, config)

    def step(self, number: int) -> list[Segment]:
        """Return the segments that step ``number`` (from 0) trains on, over all ranks."""
        segments = []
        for sequence in range(number * self._sequences, (number + 1) * self._sequences):
            stream, place = self._mixture.place(sequence)
            segments += self._streams[stream].sequence(place)
        return segments

    def held_out(self, count: int) -> list[Segment]:
        """Return the segments of ``count`` held-out sequences or examples; of fewer where there are fewer.

        Their tokens depend on the data only: on neither the seed nor the order or number of files.
        """
        if self._held_out is None:
            return []
        if not self._for_examples:
            return packed(self._held_out, self._length, count)
        members = range(min(count, len(self._held_out)))
        return [example(self._held_out, member, 0, self._padding) for member in members]

    def position(self, steps: int) -> CorpusPosition:
        """Return how far the first ``steps`` steps read. Sources without weights are passed over together."""
        counts = [int(count) for count in self._mixture.counts(steps * self._sequences)]
        tokens = sum(stream.tokens(count) for stream, count in zip(self._streams, counts, strict=True))
        epochs = [count / stream.epoch_sequences for stream, count in zip(self._streams, counts, strict=True)]
        sources = len(self.summary.sources)
        return CorpusPosition(tokens, tuple(epochs if len(epochs) == sources else epochs * sources))

    def _stream(self, pool: Pool, seed: int, label: int) -> Stream:
        if self._for_examples:
            return ExampleStream(pool, seed, label, self._padding)
        return PackedStream(pool, seed, label, self._length)


def preparation_settings(config: StageConfig) -> dict[str, Any]:
    """Return the settings that the tokens of a corpus depend on, as JSON holds them."""
    data = config.data
    settings: dict[str, Any] = {
        "sources": [source.model_dump(mode="json", exclude={"weight"}) for source in data.sources],
        "examples": config.stage == "sft",
        "long_documents": data.long_documents,
        "context_length": None if data.long_documents == "cut" else data.context_length,
    }
    if config.stage == "sft":
        settings |= {"system_prompt": data.system_prompt, "padding": data.padding}
    return settings


def _held_out(digests: npt.NDArray[np.uint64], share: float) -> npt.NDArray[np.bool_]:
    """Return which documents are held out: those whose digest is below ``share`` of all digests."""
    return digests.astype(np.float64) < share * 2.0**64


def _in_order_of_digests(stored: Sequence[StoredSource], held_out: Sequence[npt.NDArray[np.bool_]]) -> Pool | None:
    pool = Pool.of(stored, [(number, np.flatnonzero(out)) for number, out in enumerate(held_out)])
    if not len(pool):
        return None
    digests = np.concatenate([source.digests[out] for source, out in zip(stored, held_out, strict=True)])
    order = np.argsort(digests, kind="stable")
    return Pool(stored, pool.source[order], pool.document[order])


def _summary(counts: SourceCounts, stored: StoredSource, held_out: npt.NDArray[np.bool_]) -> SourceSummary:
    lengths = np.diff(stored.offsets)
    return SourceSummary(
        path=counts.path,
        documents=int(np.count_nonzero(~held_out)),
        tokens=int(lengths[~held_out].sum()),
        held_out_documents=int(np.count_nonzero(held_out)),
        held_out_tokens=int(lengths[held_out].sum()),
        dropped=counts.dropped,
        empty=counts.empty,
        bytes=counts.bytes,
    )


def _check_sides(summary: CorpusSummary, share: float) -> None:
    for source in summary.sources:
        if not source.documents:
            raise CorpusError(
                f"data.held_out_share: {share} holds out all {source.held_out_documents} documents of "
                f"{source.path}; lower it"
            )
    if share and not summary.held_out_documents:
        raise CorpusError(
            f"data.held_out_share: {share} holds out none of {summary.documents} documents; raise it, or set it "
            "to 0 to train on all of them without evaluations"
        )
