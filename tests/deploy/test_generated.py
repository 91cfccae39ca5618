"""The generated files are those that the code makes."""

from __future__ import annotations

import subprocess

import pytest

from deploy.generate.__main__ import ROOT, generated, main, outdated
from deploy.generate.dashboards import FOLDER


def test_committed_files_are_what_the_code_generates() -> None:
    stale = [str(path) for path in outdated()]
    assert not stale, f"run `python -m deploy.generate`: {stale}"


def test_no_file_is_left_over_from_a_dashboard_that_is_gone() -> None:
    found = {path.relative_to(ROOT) for path in (ROOT / FOLDER).iterdir()}
    assert found == {path for path in generated() if path.parent == FOLDER}


def test_git_marks_every_generated_file_as_generated() -> None:
    asked = ["git", "check-attr", "--stdin", "linguist-generated"]
    paths = "\n".join(map(str, generated()))
    answer = subprocess.run(asked, cwd=ROOT, input=paths, capture_output=True, text=True, check=True, timeout=60)
    unmarked = [line for line in answer.stdout.splitlines() if not line.endswith(": set")]
    assert not unmarked, "add them to .gitattributes"


def test_an_unknown_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--chek"]) == 2
    assert capsys.readouterr().err == "usage: python -m deploy.generate [--check]\n"
