"""The generated files are those that the code makes."""

from __future__ import annotations

import subprocess

import jsonschema
import pytest

from deploy.generate.__main__ import ROOT, generated, main, outdated
from deploy.generate.chart_values import ChartValues
from deploy.generate.dashboards import FOLDER
from deploy.generate.values_schema import schema


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


@pytest.mark.parametrize(
    ("train", "valid"),
    [
        ("/data/tasks.jsonl", True),
        (["a.jsonl", {"path": "hub:owner/name", "weight": 2.0}], True),
        ([{"pth": "a.jsonl"}], False),
        (3, False),
    ],
)
def test_a_recipe_in_the_values_names_its_tasks_as_a_recipe_does(train: object, valid: bool) -> None:
    values = ChartValues().model_dump(mode="json") | {"recipe": {"model": {"path": "m"}, "data": {"train": train}}}
    assert jsonschema.Draft7Validator(schema()).is_valid(values) == valid
