"""What the processes of a run import: nothing that takes seconds, where they do not use it."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SLOW = ("deepspeed", "ray", "torch", "transformers")


def _slow_imports(code: str) -> set[str]:
    """Run code in a process of its own; return which of the slow packages it has imported."""
    told = f"{code}\nimport sys\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=120, check=True)
    return set(_SLOW) & set(done.stderr.split())


def test_the_help_of_quickstart_and_a_refused_setting_import_no_slow_package() -> None:
    """`couplet quickstart --help` and a misspelt override answer before torch or Ray could be imported."""
    for argument, code in (("--help", 0), ("learner.no_such_field=1", 2)):
        call = f"try:\n main(['quickstart', '{argument}'])\nexcept SystemExit as end:\n assert end.code == {code}"
        assert not _slow_imports(f"from orchestrator.commands.main import main\n{call}")


@pytest.mark.parametrize(
    ("process", "without"),
    [
        ("orchestrator.train", {"deepspeed", "transformers"}),
        ("rollout_workers.rollout_actor", {"deepspeed", "transformers"}),
        ("reward_service.reward_actor", {"deepspeed", "transformers", "torch"}),
    ],
)
def test_a_process_of_a_run_imports_only_the_slow_packages_that_it_uses(process: str, without: set[str]) -> None:
    assert not _slow_imports(f"import {process}") & without
