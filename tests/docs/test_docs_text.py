"""What the pages say is so: Python examples run, quoted errors and metrics exist, links lead somewhere."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from common.metrics.registry import METRICS
from tests.docs.markdown_blocks import PAGES, REPOSITORY, blocks

_ROOMS = (
    "common",
    "evaluation",
    "learner",
    "orchestrator",
    "reward_service",
    "rollout_workers",
    "sandbox",
)
_TROUBLE = REPOSITORY / "docs" / "troubleshooting.md"
_MESSAGES = re.findall(r"^### `(.+)`$", _TROUBLE.read_text(), re.MULTILINE)
_WITH_PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]


@pytest.mark.parametrize("page", _WITH_PYTHON, ids=lambda page: page.name)
def test_python_examples_work(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, each in a namespace of its own; a block with a title is a module that later ones can import."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = set(sys.modules)
    try:
        for block in blocks(page):
            if block.title:
                (tmp_path / block.title).write_text(block.text)
            elif block.language == "python":
                exec(compile(block.text, block.name, "exec"), {"__name__": "example"})
    finally:
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
                del sys.modules[name]


@pytest.mark.parametrize("message", _MESSAGES)
def test_a_quoted_message_is_in_the_source(message: str) -> None:
    parts = [re.escape(part.strip()) for part in message.split("…") if part.strip()]
    wanted = re.compile(".*".join(parts), re.DOTALL)
    assert any(wanted.search(text) for text in _strings_of_the_source()), "the source says it otherwise now"


def test_there_are_messages() -> None:
    assert len(_MESSAGES) > 20


@cache
def _strings_of_the_source() -> tuple[str, ...]:
    """Every string of the source; what is filled in stands as a NUL."""
    files = [
        REPOSITORY / "couplet_rl.py",
        *(file for room in _ROOMS for file in (REPOSITORY / room).rglob("*.py")),
    ]
    return tuple(text for file in files for text in _strings(file))


def _strings(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_metrics_that_a_page_names_exist(page: Path) -> None:
    first_words = {metric.key.partition("/")[0] for metric in METRICS}
    named = re.findall(r"`([a-z_]+/[a-z_{}/0-9]+)`", page.read_text())
    unknown = [name for name in named if name.partition("/")[0] in first_words and not _is_metric(name)]
    assert unknown == []


def _is_metric(name: str) -> bool:
    return any(name == metric.key or metric.labels_in(name) is not None for metric in METRICS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"
