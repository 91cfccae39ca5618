"""Prepared tokens: kept while they fit, made anew as a whole when they do not, and never half there."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from common.config import StageConfig
from learner.stages.corpus import Corpus, CorpusError, prepare
from tests.learner.stages.corpus_tools import (
    MODEL,
    byte_tokenizer,
    corpus_of,
    documents,
    plain,
    rows,
    run_of,
    steps,
)


def batches_read(config: StageConfig, target: Path) -> int:
    """Prepare, and count how many batches of documents were encoded for it."""
    told: list[tuple[str, int]] = []
    prepare(config, byte_tokenizer(), MODEL, target, lambda source, tokens: told.append((source, tokens)))
    return len(told)


def test_tokens_are_prepared_once_for_the_same_data(tmp_path: Path) -> None:
    path, target = documents(tmp_path / "a.jsonl", ["one", "two"]), tmp_path / "data"
    config = run_of(path)
    assert batches_read(config, target) == 1
    first = Corpus.open(target, config)
    assert batches_read(config, target) == 0
    # What the tokens do not depend on may change.
    others = run_of({"path": str(path), "weight": 2.0}, seed=3, sequences=1, held_out_share=0.5)
    assert batches_read(others, target) == 0
    # A file that only looks newer is read again, and is the same corpus.
    os.utime(path, (1, 1))
    assert batches_read(config, target) == 1
    assert Corpus.open(target, config).fingerprint == first.fingerprint
    documents(path, ["one", "two", "three"])
    assert batches_read(config, target) == 1
    assert Corpus.open(target, config).summary.documents == 3
    assert Corpus.open(target, config).fingerprint != first.fingerprint
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".data.lock", "a.jsonl", "data"]


def test_other_settings_or_tokens_are_another_corpus(tmp_path: Path) -> None:
    path, target = rows(tmp_path / "a.jsonl", {"prompt": "q", "answer": "a", "text": "t"}), tmp_path / "data"
    runs = [
        run_of(path),
        run_of({"path": str(path), "text": "answer"}),
        run_of(path, context_length=16),
        run_of(path, stage="sft", context_length=200),
        run_of(path, stage="sft", context_length=200, system_prompt=None),
        run_of(path, stage="sft", context_length=200, padding="learned"),
    ]
    assert [batches_read(run, target) for run in runs] == [1] * len(runs)
    with pytest.raises(CorpusError, match="prepared with other settings of data"):
        Corpus.open(target, runs[0])


def test_another_tokenizer_is_another_corpus(tmp_path: Path) -> None:
    path, target = rows(tmp_path / "a.jsonl", {"prompt": "q", "answer": "a"}), tmp_path / "data"
    config = run_of(path, stage="sft", context_length=200)
    in_turns = corpus_of(config, target)
    as_it_is = corpus_of(config, target, byte_tokenizer(template=None))
    assert in_turns.fingerprint != as_it_is.fingerprint
    assert in_turns.summary.tokens > as_it_is.summary.tokens
    assert corpus_of(config, target).fingerprint == in_turns.fingerprint


def test_a_failure_leaves_the_corpus_that_was_there(tmp_path: Path) -> None:
    path, target = documents(tmp_path / "a.jsonl", ["one", "two"]), tmp_path / "data"
    before = plain(steps(corpus_of(run_of(path), target), 3))

    def stop(source: str, tokens: int) -> None:
        raise KeyboardInterrupt

    documents(path, ["other"])
    with pytest.raises(KeyboardInterrupt):
        prepare(run_of(path), byte_tokenizer(), MODEL, target, stop)
    assert plain(steps(Corpus.open(target, run_of(path)), 3)) == before
    (tmp_path / ".data.tmp").mkdir()  # what a kill would have left
    assert plain(steps(corpus_of(run_of(path), target), 3)) != before
    assert not (tmp_path / ".data.tmp").exists()


def test_two_runs_do_not_prepare_one_folder_at_a_time(tmp_path: Path) -> None:
    path = documents(tmp_path / "a.jsonl", ["one"])
    with (tmp_path / ".data.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(CorpusError, match=r"another run is preparing its data there; .* another data\.cache"):
            corpus_of(run_of(path), tmp_path / "data")
    corpus_of(run_of(path), tmp_path / "data")


def test_folders_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    path, target = documents(tmp_path / "a.jsonl", ["one"]), tmp_path / "data"
    with pytest.raises(CorpusError, match="no prepared corpus; start the run again"):
        Corpus.open(target, run_of(path))
    corpus_of(run_of(path), target)
    for name, content in (("tokens.bin", b""), ("offsets.npy", b"?"), ("tokens.bin", b"\0" * 20)):
        (target / "source-0" / name).write_bytes(content)
        with pytest.raises(CorpusError, match=r"source-0: tokens are missing; remove .*data, and they are"):
            Corpus.open(target, run_of(path))


def test_a_cache_keeps_the_tokens_of_every_run_and_what_else_lies_there(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first, second = (documents(cache / f"{name}.jsonl", [name, name * 2]) for name in ("one", "two"))
    runs = [run_of(first, cache=cache), run_of(second, cache=cache), run_of(first, cache=cache, context_length=16)]
    opened = [corpus_of(run, tmp_path / "data") for run in runs]
    before = [plain(steps(corpus, 2)) for corpus in opened]
    assert [batches_read(run, tmp_path / "data") for run in runs] == [0, 0, 0]
    assert [plain(steps(corpus_of(run, tmp_path / "data"), 2)) for run in runs] == before
    assert first.is_file()
    assert not (tmp_path / "data").exists()


def test_a_cache_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    path = documents(tmp_path / "a.jsonl", ["one"])
    with pytest.raises(CorpusError, match=r"a\.jsonl: cannot be written: .*; set data\.cache to another folder"):
        corpus_of(run_of(path, cache=path), tmp_path / "data")
    assert path.is_file()
