"""What each step trains on: every token of every epoch once, whatever the step, the ranks and the restarts."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from common.rng import stream
from learner.stages.corpus import Corpus
from learner.stages.segments import CorpusPosition, Segment
from tests.learner.stages.corpus_tools import END, corpus_of, documents, ids_of, plain, rows, run_of, steps

SEQUENCES, LENGTH, SEED = 3, 16, 7


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Documents of 1 to 60 characters; some are longer than a step, others share a sequence."""
    draw = np.random.default_rng(0)
    return [f"{number:02}" + "x" * int(draw.integers(0, 59)) for number in range(17)]


@pytest.fixture(scope="module")
def corpus(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    parts = documents(folder / "a.jsonl", texts[:9]), documents(folder / "b.jsonl", texts[9:])
    return corpus_of(run_of(*parts, **cut()), folder / "data")


def cut(**changed: int) -> dict[str, object]:
    return {"seed": SEED, "sequences": SEQUENCES, "context_length": LENGTH, "long_documents": "cut"} | changed


def naive(texts: list[str], length: int, sequences: int) -> list[list[tuple[int, int, int]]]:
    """The plain loop: shuffle the documents of each epoch, join them, cut. Tokens as (epoch, document, place)."""
    tape: list[tuple[int, int, int]] = []
    epoch = 0
    while len(tape) < length * sequences:
        order = list(stream(SEED, "documents", 0, epoch).permutation(len(texts)))
        tape += [(epoch, n, place) for n in order for place in range(len(ids_of(texts[n])) + 1)]
        epoch += 1
    return [tape[start : start + length] for start in range(0, length * sequences, length)]


def tokens_of(segments: list[Segment]) -> list[tuple[int, int, int]]:
    """The tokens that segments hold, by their keys; the second source begins at document 9."""
    tokens = []
    for segment in segments:
        source, document, epoch, first = segment.key
        tokens += [(epoch, document + 9 * source, first + place) for place in range(len(segment))]
    return tokens


@pytest.mark.parametrize(
    ("length", "sequences", "count"),
    [(16, 3, 17), (5, 1, 3), (61, 4, 12), (50, 2, 1)],
    ids=["cut", "cut often", "mostly whole", "epochs shorter than a sequence"],
)
def test_steps_are_those_of_the_plain_loop(
    texts: list[str], length: int, sequences: int, count: int, tmp_path: Path
) -> None:
    path = documents(tmp_path / "a.jsonl", texts[:count])
    corpus = corpus_of(run_of(path, **cut(context_length=length, sequences=sequences)), tmp_path / "data")
    whole = {n: [*ids_of(text), END] for n, text in enumerate(texts)}
    tape = naive(texts[:count], length, 12 * sequences)
    for number in range(12):
        # A segment is what a sequence holds of one document.
        parts = [
            list(part)
            for sequence in tape[number * sequences : (number + 1) * sequences]
            for _, part in groupby(sequence, key=lambda token: token[:2])
        ]
        segments = corpus.step(number)
        assert [s.key for s in segments] == [(0, document, epoch, first) for (epoch, document, first), *_ in parts]
        for segment, part in zip(segments, parts, strict=True):
            assert segment.ids.tolist() == [whole[document][place] for _, document, place in part]
            assert (segment.prompt, segment.padding) == (0, 0)


def test_every_token_of_every_epoch_is_read_once_by_any_number_of_ranks(corpus: Corpus, texts: list[str]) -> None:
    total = sum(len(ids_of(text)) + 1 for text in texts)
    count = int(5 * corpus.epoch_steps) + 1
    for ranks in (1, 2, 3):
        # Ranks share the segments of a step among them; another number of them goes on from the middle.
        read = [s for n in range(count) for rank in range(ranks) for s in corpus.step(n)[rank::ranks]]
        seen = Counter(token for segment in read for token in tokens_of([segment]))
        assert max(seen.values()) == 1
        by_epoch = Counter(epoch for epoch, _, _ in seen)
        assert all(by_epoch[epoch] == total for epoch in range(5))
        assert sum(by_epoch.values()) == count * SEQUENCES * LENGTH


def test_steps_are_found_in_any_order_and_after_reopening(
    corpus: Corpus, texts: list[str], tmp_path: Path
) -> None:
    again = corpus_of(run_of(documents(tmp_path / "all.jsonl", texts), **cut()), tmp_path / "data")
    forwards = [[s.ids.tolist() for s in again.step(n)] for n in range(40)]
    reopened = Corpus.open(tmp_path / "data", run_of(tmp_path / "all.jsonl", **cut()))
    assert [[s.ids.tolist() for s in reopened.step(n)] for n in reversed(range(40))] == forwards[::-1]
    # One file or two, the documents are one corpus.
    assert [[s.ids.tolist() for s in corpus.step(n)] for n in range(40)] == forwards
    other = Corpus.open(tmp_path / "data", run_of(tmp_path / "all.jsonl", **cut(seed=8)))
    assert [[s.ids.tolist() for s in other.step(n)] for n in range(40)] != forwards


def test_the_position_counts_tokens_and_passes(corpus: Corpus, texts: list[str]) -> None:
    total = sum(len(ids_of(text)) + 1 for text in texts)
    assert corpus.summary.tokens == total
    assert corpus.epoch_steps == pytest.approx(total / (SEQUENCES * LENGTH))
    position = corpus.position(11)
    assert position.tokens == 11 * SEQUENCES * LENGTH
    assert position.epochs == pytest.approx([position.tokens / total] * 2)
    assert corpus.position(0) == CorpusPosition(tokens=0, epochs=(0.0, 0.0))


def test_a_mixture_keeps_its_weights_and_reads_each_source_without_gaps(tmp_path: Path) -> None:
    parts = [documents(tmp_path / f"{name}.jsonl", [f"{name}{n}" for n in range(9)]) for name in "ab"]
    weighed = [{"path": str(path), "weight": weight} for path, weight in zip(parts, (3, 1), strict=True)]
    corpus = corpus_of(run_of(*weighed, sequences=4, context_length=8), tmp_path / "data")
    count = 2000
    segments = steps(corpus, count)
    share = sum(len(s) for s in segments if s.key[0] == 1) / (count * 4 * 8)
    assert share == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / (count * 4)) ** 0.5)
    position = corpus.position(count)
    assert position.tokens == sum(len(s) for s in segments)
    for source in (0, 1):
        mine = [s for s in segments if s.key[0] == source]
        assert position.epochs[source] == pytest.approx(sum(len(s) for s in mine) / (9 * 3))
        seen = Counter((s.key, place) for s in mine for place in range(len(s)))
        by_epoch = Counter(key[2] for key, _ in seen)
        assert max(seen.values()) == 1
        assert all(by_epoch[epoch] == 27 for epoch in range(int(position.epochs[source])))
    # A step far on is found without the ones before it, and is the same.
    assert plain(
        Corpus.open(tmp_path / "data", run_of(*weighed, sequences=4, context_length=8)).step(1999)
    ) == plain(corpus.step(1999))


def test_examples_are_read_once_an_epoch(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", *({"prompt": f"q{n}", "answer": "a" * n} for n in range(1, 6)))
    corpus = corpus_of(run_of(path, stage="sft", sequences=3, context_length=200), tmp_path / "data")
    assert corpus.epoch_steps == pytest.approx(5 / 3)
    segments = steps(corpus, 10)
    for epoch in range(6):
        assert sorted(s.key for s in segments[epoch * 5 : epoch * 5 + 5]) == [(0, n, epoch, 0) for n in range(5)]
    for count in (0, 1, 4, 10):
        position = corpus.position(count)
        assert position.tokens == sum(len(segment) for segment in segments[: count * 3])
        assert position.epochs == pytest.approx((count * 3 / 5,))
