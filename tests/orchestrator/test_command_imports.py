"""What the processes of a run import: nothing that takes seconds, where they do not use it."""

from __future__ import annotations

import subprocess
import sys

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


def test_a_driver_imports_ray_alone_of_the_slow_packages_and_so_do_actors_before_they_are_constructed() -> None:
    """Importing torch takes two seconds of a core, and a driver computes nothing."""
    assert _slow_imports("import orchestrator.train, orchestrator.stages.run") == {"ray"}


def test_a_dry_run_imports_no_torch() -> None:
    """It reads the model's configuration and tokenizer, and no weights."""
    code = "from orchestrator.commands.main import main\ntry:\n main(['train', 'quickstart', '--dry-run'])"
    slow = _slow_imports(f"{code}\nexcept SystemExit as end:\n assert not end.code")
    assert not slow & {"deepspeed", "torch"}
