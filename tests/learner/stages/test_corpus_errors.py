"""Data that cannot be used: one error each, which says where and what to do, and nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.models.config import ModelConfig
from learner.stages.corpus import CorpusError, prepare
from tests.learner.stages.corpus_tools import MODEL, byte_tokenizer, corpus_of, documents, rows, run_of

Row = dict[str, Any]
TURNS = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]


def refuse(
    match: str, *sources: object, folder: Path, tokenizer: Any = None, model: Any = MODEL, **run: Any
) -> None:
    """Expect an error that matches, in one line, and an untouched folder."""
    target = folder / "out" / "data"
    with pytest.raises(CorpusError, match=match) as caught:
        corpus_of(run_of(*sources, **run), target, tokenizer, model)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert [path.name for path in target.parent.glob("*") if path.name != ".data.lock"] == []


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.csv", b"text\n", r"a\.csv: files of this kind cannot be read here; give some named \.jsonl"),
        ("a.jsonl", b"", r"a\.jsonl: nothing to train on; give it documents, or leave it out"),
        ("a.jsonl", b'{"text": ""}\n', r"nothing to train on: 0 documents were too long and 1 without text"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', r"a\.jsonl, line 2: unreadable .* must be UTF-8"),
        (
            "a.jsonl",
            b'{"text": "\\ud800"}\n',
            r"a\.jsonl, line 1: the text is not UTF-8: character 0 ",
        ),
        ("a.jsonl", b'{"text": "a"}\n\n["a"]\n', r"a\.jsonl, line 3: a JSON list; write one JSON object a line"),
        (
            "a.jsonl",
            b'{"code": "a", "n": 1}\n',
            r"no value in column 'text', only in code, n; give the source as \{path: .*a\.jsonl, text: COLUMN\}",
        ),
        ("a.jsonl", b'{"text": 1}\n', r"a\.jsonl, line 1, field text: is int; make it a string"),
        ("a.jsonl.gz", b"{}", r"a\.jsonl\.gz: unreadable .* gzip if named \.gz"),
        ("a.parquet", b"{}", r"a\.parquet: unreadable .* must be Parquet"),
        ("a.py", b"x = 1\ny = '\xe9'\n", r"a\.py, line 2: not UTF-8 \(byte 0xe9\); convert the file"),
        (
            "a.txt",
            b"x" * 33,
            r"a\.txt: has 34 tokens .* data\.context_length is 32; raise .* cut or drop",
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, content: bytes, match: str) -> None:
    (tmp_path / name).write_bytes(content)
    refuse(match, tmp_path / name, folder=tmp_path)


def test_parquet_with_text_that_is_not_utf_8(tmp_path: Path) -> None:
    texts = pa.array([b"a", b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    refuse(r"a\.parquet, row 2: a text is not UTF-8", tmp_path / "a.parquet", folder=tmp_path)


def test_sources_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    path = documents(tmp_path / "tree" / "a.jsonl", ["a"])
    refuse("none: no such file or folder; check the path", tmp_path / "none", folder=tmp_path)
    refuse(r"cannot be read: .*File name too long", tmp_path / ("a" * 300), folder=tmp_path)
    refuse(r"~nobody-of-that-name/a\.jsonl: cannot be read", Path("~nobody-of-that-name/a.jsonl"), folder=tmp_path)
    refuse("the only built-in source is builtin:stdlib", {"path": "builtin:other"}, folder=tmp_path)
    refuse(
        "hub:us/none: no data set that the Hub gives: .* or download it", {"path": "hub:us/none"}, folder=tmp_path
    )
    refuse("hub:/a/b/: no data set that the Hub gives", {"path": "hub:/a/b/"}, folder=tmp_path)
    refuse("leave files out", {"path": str(path), "files": ["*"]}, folder=tmp_path)
    nothing = {"path": str(path.parent), "files": ["b*", "c*"]}
    refuse(r"no file in it matches b\*, c\* and is named \.jsonl, .*; check the path", nothing, folder=tmp_path)


@pytest.mark.parametrize(
    ("row", "match"),
    [
        (
            {"prompt": "a"},
            "line 1: no value in column 'answer', only in prompt; give the source as .*answer: COLUMN",
        ),
        ({"question": "a"}, "line 1: no value in column 'prompt', only in question"),
        ({"prompt": "a", "answer": ""}, "field answer: is empty; give it a text, or leave the row out"),
        ({"prompt": "a", "answer": ["b"]}, "field answer: is list; make it a string"),
        ({"messages": "a"}, "field messages: is str; make it a list of turns, each with role and content"),
        ({"messages": TURNS[:1]}, "at least two turns, the last of them the assistant's"),
        ({"messages": TURNS * 2 + TURNS[:1]}, "at least two turns, the last of them the assistant's"),
        (
            {"messages": [*TURNS, {"role": "tool", "content": "a"}]},
            "turn 3 has the role 'tool'; give it one of",
        ),
        (
            {"messages": [*TURNS, {"role": "system", "content": "a"}]},
            "turn 3 is the system's; only the first",
        ),
        ({"messages": [{"role": "user"}, TURNS[1]]}, "turn 1 has no content"),
        ({"prompt": "a" * 200, "answer": "b"}, r"the prompt alone has \d+ tokens, .*no room .* to drop"),
        ({"prompt": "a", "answer": "b" * 200}, r"has \d+ tokens with the one that ends it, .* to drop"),
        ({"prompt": "say <|mask|>", "answer": "b"}, r"holds '<\|mask\|>' \(1\), which is the mask token; name"),
    ],
)
def test_examples_that_cannot_be_used(tmp_path: Path, row: Row, match: str) -> None:
    path = rows(tmp_path / "a.jsonl", row)
    refuse(match, path, stage="sft", context_length=200, folder=tmp_path)


def test_examples_of_files_that_have_none(tmp_path: Path) -> None:
    refuse("not examples of sft; give a file of rows", {"path": "builtin:stdlib"}, stage="sft", folder=tmp_path)
    (tmp_path / "a.py").write_text("x = 1\n")
    refuse(r"a\.py: files of this kind cannot be read here", tmp_path / "a.py", stage="sft", folder=tmp_path)


def test_templates_that_cannot_be_used(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", {"messages": TURNS})
    plain = byte_tokenizer(template=None)
    missing = r"a conversation needs a chat template and .*; set data\.chat_template_file"
    refuse(missing, path, stage="sft", tokenizer=plain, folder=tmp_path)
    strict = byte_tokenizer(template="{{ raise_exception('no system turn') }}")
    refuse(r"line 1: .* no system turn; mend the template", path, stage="sft", tokenizer=strict, folder=tmp_path)


def test_tokens_that_the_model_cannot_read(tmp_path: Path) -> None:
    path = documents(tmp_path / "a.jsonl", ["abc", "xyz"])
    other = ModelConfig.model_validate({**dict(MODEL), "token_count": None, "vocab_size": 90})
    refuse(r"a\.jsonl, line 2: token 'z' .* outside the .* of 90", path, model=other, folder=tmp_path)
    used = byte_tokenizer().convert_tokens_to_ids("y")
    mask = ModelConfig.model_validate({**dict(MODEL), "mask_token_id": used})
    refuse(r"line 2: holds 'y' \(\d+\), which is the mask token; name in model", path, model=mask, folder=tmp_path)


def test_learned_pads_need_a_token(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", {"prompt": "a", "answer": "b"})
    pads = {"stage": "sft", "padding": "learned", "context_length": 200}
    tokenizer = byte_tokenizer(pad=None)
    refuse(
        "data.padding: learned needs a pad token .* model.pad_token",
        path,
        tokenizer=tokenizer,
        folder=tmp_path,
        **pads,
    )


def test_a_side_on_which_nothing_is_left(tmp_path: Path) -> None:
    path = documents(tmp_path / "a.jsonl", ["a"])
    refuse(
        "0.001 holds out none of 1 documents; raise it, or set it to 0",
        path,
        held_out_share=0.001,
        folder=tmp_path,
    )
    refuse("1.0 holds out all 1 documents of .*; lower it", path, held_out_share=1.0, folder=tmp_path)


def test_the_first_error_comes_before_any_document_is_read(tmp_path: Path) -> None:
    """A second source that is not there does not cost the time to prepare the first."""
    read: list[int] = []
    config = run_of(documents(tmp_path / "a.jsonl", ["a"]), tmp_path / "none")
    with pytest.raises(CorpusError, match="no such file"):
        prepare(config, byte_tokenizer(), MODEL, tmp_path / "data", lambda _, tokens: read.append(tokens))
    assert read == []
