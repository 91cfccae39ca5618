"""The generated files are those that the code makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deploy.generate.__main__ import ROOT, generated, outdated


def test_committed_files_are_what_the_code_generates() -> None:
    stale = [str(path) for path in outdated()]
    assert not stale, f"run `python -m deploy.generate`: {stale}"


def test_what_lies_twice_is_equal_byte_for_byte() -> None:
    pairs = [(Path("deploy/prometheus/rules.yaml"), Path("deploy/helm/couplet/files/rules.yaml"))]
    chart = Path("deploy/helm/couplet/files/dashboards")
    pairs += [
        (path, chart / path.name) for path in generated() if path.parent == Path("deploy/grafana/dashboards")
    ]
    assert len(pairs) == 5
    for one, other in pairs:
        assert (ROOT / one).read_bytes() == (ROOT / other).read_bytes()


def test_no_file_is_left_over_from_a_dashboard_that_is_gone() -> None:
    for folder in ("deploy/grafana/dashboards", "deploy/helm/couplet/files/dashboards"):
        found = {path.relative_to(ROOT) for path in (ROOT / folder).iterdir()}
        assert found == {path for path in generated() if path.parent == Path(folder)}


def test_an_unknown_argument_is_refused() -> None:
    wrong = [sys.executable, "-m", "deploy.generate", "--chek"]
    answer = subprocess.run(wrong, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 2
    assert answer.stderr == "usage: python -m deploy.generate [--check]\n"
