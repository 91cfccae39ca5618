"""Every command of README and docs is executed, found in another test, or marked with the reason it cannot be.

The line in front of a block of commands says which:

    <!-- ci: run -->                          every line is executed here, in a folder of the page's own
    <!-- ci: with run.steps=1 -->             the same, these words appended to lines with `couplet` or a program
    <!-- ci: after cp -r a b -->              the same, after a command that makes what the reader has by then
    <!-- ci: tests/a.py, .ci/run -->          another test or page runs it: those files hold its essential words
    <!-- ci: not run: REASON -->              nobody runs it

Blocks with a title are files: they lie in the page's folder before its commands run.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown_blocks import LANGUAGES, PAGES, REPOSITORY, Block, blocks, essential_words

_SECONDS = 240.0
_BLOCKS = [block for page in PAGES for block in blocks(page)]
_COMMANDS = [block for block in _BLOCKS if block.language == "bash"]
_RUN = re.compile(r"run$|with (?P<words>\S.*)$|after (?P<before>\S.*)$")


def _pages_to_run() -> list[Path]:
    return sorted({block.page for block in _COMMANDS if _RUN.match(block.ci)})


def test_pages_have_commands() -> None:
    assert len(_COMMANDS) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_fences_name_their_language(page: Path) -> None:
    """Else a command could hide in one: `bash` is for commands, `text` for what they print."""
    odd = [f"{block.name} {block.language!r}" for block in blocks(page) if block.language not in LANGUAGES]
    assert odd == [], f"name one of {', '.join(LANGUAGES)}"


@pytest.mark.parametrize("block", _COMMANDS, ids=lambda block: block.name)
def test_a_block_of_commands_says_how_ci_treats_it(block: Block) -> None:
    assert block.ci, f"{block.name}: put a comment <!-- ci: ... --> in front; {__name__} has the kinds"
    assert block.commands, f"{block.name}: there is no command in it"
    if _RUN.match(block.ci):
        return
    if block.ci.startswith("not run"):
        reason = block.ci.removeprefix("not run").lstrip(": ")
        assert len(reason) > 20, f"{block.name}: say why it cannot be run"
        return
    files = [REPOSITORY / name.strip() for name in block.ci.split(",")]
    for file in files:
        assert file.is_file(), f"{block.name}: {file.relative_to(REPOSITORY)} does not exist"
    text = "\n".join(file.read_text() for file in files)
    for command in block.commands:
        absent = [word for word in essential_words(command) if word not in text]
        assert not absent, f"{block.name}: no {', '.join(absent)} in {block.ci}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", _pages_to_run(), ids=lambda page: page.name)
def test_the_commands_of_a_page_work(page: Path, tmp_path: Path) -> None:
    mine = [block for block in _BLOCKS if block.page == page]
    for block in mine:
        if block.title:
            (tmp_path / block.title).write_text(block.text)
    for name in ("recipes", "examples"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    for block in mine:
        wanted = _RUN.match(block.ci) if block.language == "bash" else None
        if wanted is None:
            continue
        if wanted["before"]:
            _run(block, wanted["before"], tmp_path)
        for command in block.commands:
            more = wanted["words"] if wanted["words"] and re.search(r"\bcouplet\b|\.py\b", command) else ""
            _run(block, f"{command} {more}", tmp_path)


def _run(block: Block, command: str, folder: Path) -> None:
    """Run one line; all that it started ends with the deadline."""
    environment = {**os.environ, "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}", "COLUMNS": "100"}
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"{block.name}: no end within {_SECONDS:.0f} s: {command}")
    assert process.returncode == 0, f"{block.name}: exit code {process.returncode}: {command}\n{output[-3000:]}"
