"""Where documents come from, what becomes of their text, and which are held out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.models.config import ModelConfig
from common.models.folder import load_tokenizer, model_folder
from learner.stages.corpus import Corpus
from learner.stages.corpus.files import files_of
from learner.stages.segments import Segment
from tests.learner.stages.corpus_tools import (
    END,
    MODEL,
    SPECIAL,
    corpus_of,
    documents,
    ids_of,
    run_of,
    steps,
    text_of,
)


def epoch_of(corpus: Corpus) -> dict[tuple[int, int], str]:
    """The documents of the first epoch, as (source, document), put together from their segments."""
    found: dict[tuple[int, int], dict[int, Segment]] = {}
    for segment in steps(corpus, int(corpus.epoch_steps) + 1):
        source, document, epoch, first = segment.key
        if epoch == 0:
            found.setdefault((source, document), {})[first] = segment
    return {
        key: text_of(token for first in sorted(parts) for token in parts[first].ids)
        for key, parts in sorted(found.items())
    }


def texts_of(corpus: Corpus) -> list[str]:
    return [text.removesuffix(SPECIAL[END]) for text in epoch_of(corpus).values()]


def test_every_kind_of_file_in_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    documents(tree / "a.jsonl", ["one", "two"])
    (tree / "b.jsonl.gz").write_bytes(gzip.compress(json.dumps({"text": "three"}).encode()))
    pq.write_table(pa.table({"text": ["four", "five"], "id": [1, 2]}), tree / "c.parquet")
    for name, text in {
        "d/e.py": "x = 1\n",
        "d/f.txt": "seven\r\n\N{SNOWMAN}",
        ".git/h.py": "hidden",
        "d/.h.py": "hidden",
        "d/__pycache__/g.py": "compiled",
        "notes.md": "of no kind that is read",
        "z/__init__.py": "",
    }.items():
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(text.encode())
    (tree / "gone.py").symlink_to("nowhere.py")
    corpus = corpus_of(run_of(tree), tmp_path / "data")
    assert texts_of(corpus) == ["one", "two", "three", "four", "five", "x = 1\n", "seven\n\N{SNOWMAN}"]
    summary = corpus.summary
    assert (summary.documents, summary.empty, summary.dropped) == (7, 1, 0)
    assert summary.sentence().endswith("; 1 left out without text")
    assert summary.bytes == sum(len(text.encode()) for text in texts_of(corpus))
    assert summary.tokens == summary.bytes + 7
    assert summary.as_record()["sources"][0]["path"] == str(tree)
    chosen = run_of({"path": str(tree), "files": ["d/*", "a.*"]})
    assert texts_of(corpus_of(chosen, tmp_path / "chosen")) == ["one", "two", "x = 1\n", "seven\n\N{SNOWMAN}"]


def test_columns_are_those_that_the_source_names(tmp_path: Path) -> None:
    pq.write_table(pa.table({"code": ["f()"], "text": ["not this"]}), tmp_path / "a.parquet")
    corpus = corpus_of(run_of({"path": str(tmp_path / "a.parquet"), "text": "code"}), tmp_path / "data")
    assert texts_of(corpus) == ["f()"]


def test_text_never_becomes_a_special_token(tmp_path: Path) -> None:
    text = "".join(SPECIAL)
    corpus = corpus_of(run_of(documents(tmp_path / "a.jsonl", [text]), context_length=99), tmp_path / "data")
    segment = corpus.step(0)[0]
    assert len(segment) == len(text) + 1
    assert min(segment.ids[:-1]) >= len(SPECIAL)
    assert segment.ids[-1] == END


def test_the_standard_library_is_code_that_reads(tmp_path: Path) -> None:
    source = run_of({"path": "builtin:stdlib"}).data.sources[0]
    files = files_of(source, (".py",))
    names = {path.name for path in files}
    assert {"argparse.py", "decoder.py"} <= names
    assert not {"site-packages", "test", "tests", "__pycache__"} & {part for path in files for part in path.parts}
    assert files == files_of(source, (".py",))
    assert sum(path.stat().st_size for path in files) > 5_000_000
    for path in files:
        path.read_bytes().decode("utf-8")
    config = run_of({"path": "builtin:stdlib", "files": ["json/*"]}, long_documents="cut", context_length=256)
    corpus = corpus_of(
        config,
        tmp_path / "data",
        load_tokenizer("builtin:quickstart"),
        ModelConfig.from_folder(model_folder("builtin:quickstart")),
    )
    assert corpus.summary.documents == len([p for p in files if p.parent.name == "json"])


def test_a_data_set_of_the_hub_is_read_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    cached = tmp_path / "datasets--us--code"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    snapshot = cached / "snapshots" / ("0" * 40)
    documents(snapshot / "data" / "train-0.jsonl", ["one"])
    documents(snapshot / "data" / "test-0.jsonl", ["two"])
    (snapshot / "loader.py").write_text("raise SystemExit")
    assert texts_of(corpus_of(run_of({"path": "hub:us/code"}), tmp_path / "data")) == ["two", "one"]
    chosen = run_of({"path": "hub:us/code", "files": ["data/train-*.jsonl"]})
    assert texts_of(corpus_of(chosen, tmp_path / "chosen")) == ["one"]


def held_out_of(tmp_path: Path, name: str, *parts: list[str], **data: Any) -> tuple[list[str], list[str], Corpus]:
    paths = [documents(tmp_path / name / f"{n}.jsonl", part) for n, part in enumerate(parts)]
    config = run_of(*paths, context_length=8, **data)
    corpus = corpus_of(config, tmp_path / name / "data")
    held_out = text_of(token for segment in corpus.held_out(1000) for token in segment.ids)
    return sorted(texts_of(corpus)), held_out.split(SPECIAL[END])[:-1], corpus


def test_documents_are_held_out_by_their_text(tmp_path: Path) -> None:
    texts = [f"{number}" for number in range(200)]
    training, held_out, corpus = held_out_of(tmp_path, "one", texts, held_out_share=0.25)
    assert sorted(training + held_out) == sorted(texts)
    assert len(held_out) == pytest.approx(50, abs=4 * (200 * 0.25 * 0.75) ** 0.5)
    summary = corpus.summary
    assert (summary.documents, summary.held_out_documents) == (len(training), len(held_out))
    assert summary.held_out_tokens == sum(len(ids_of(text)) + 1 for text in held_out)
    # Neither order nor files nor seed matter; the same text is never on both sides.
    others = [*reversed(texts), *texts[:50]]
    training_2, held_out_2, _ = held_out_of(tmp_path, "two", others[:90], others[90:], held_out_share=0.25, seed=5)
    assert set(training_2) == set(training)
    assert list(dict.fromkeys(held_out_2)) == held_out
    # A larger share holds out these and others.
    _, more, _ = held_out_of(tmp_path, "three", texts, held_out_share=0.5)
    assert set(held_out) < set(more)


def test_held_out_sequences_are_cut_like_others_and_end_where_they_end(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(60)]
    _, held_out, corpus = held_out_of(tmp_path, "one", texts, held_out_share=0.3)
    tape = "".join(text + "$" for text in held_out)
    for count in (1, 3, 1000):
        segments = corpus.held_out(count)
        read = text_of(token for segment in segments for token in segment.ids).replace(SPECIAL[END], "$")
        assert read == tape[: count * 8]
        assert len({segment.key for segment in segments}) == len(segments)
        assert max(len(segment) for segment in segments) <= 8
    assert held_out_of(tmp_path, "none", texts, held_out_share=0)[1] == []


def test_documents_beyond_the_context_are_cut_or_dropped(tmp_path: Path) -> None:
    path = documents(tmp_path / "a.jsonl", ["short", "l" * 8, "fits in", "x" * 20])
    cut = corpus_of(run_of(path, context_length=8, long_documents="cut"), tmp_path / "cut")
    assert (cut.summary.documents, cut.summary.dropped) == (4, 0)
    assert texts_of(cut) == ["short", "l" * 8, "fits in", "x" * 20]
    dropped = corpus_of(run_of(path, context_length=8, long_documents="drop"), tmp_path / "drop")
    assert (dropped.summary.documents, dropped.summary.dropped) == (2, 2)
    assert texts_of(dropped) == ["short", "fits in"]


def test_large_vocabularies_take_four_bytes(tmp_path: Path) -> None:
    path = documents(tmp_path / "a.jsonl", ["some text"])
    wide = ModelConfig.model_validate({**dict(MODEL), "vocab_size": 70_000, "token_count": None})
    narrow = corpus_of(run_of(path), tmp_path / "narrow").step(0)
    assert [s.ids.tolist() for s in corpus_of(run_of(path), tmp_path / "wide", model=wide).step(0)] == [
        s.ids.tolist() for s in narrow
    ]
    sizes = [(tmp_path / name / "source-0" / "tokens.bin").stat().st_size for name in ("narrow", "wide")]
    assert sizes[1] == 2 * sizes[0]
