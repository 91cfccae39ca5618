"""Which levels this machine can be tested at, and with which interpreter."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent.parent / "sandbox"
ORDINARY_ID = 54321
SCRIPT_S = 120


def public_python() -> str | None:
    """An interpreter (3.11 or newer) that every user may run."""
    for candidate in (os.path.realpath(sys.executable), "/usr/bin/python3", "/usr/local/bin/python3"):
        command = [candidate, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            done = subprocess.run(command, user=ORDINARY_ID, group=ORDINARY_ID, check=False, timeout=SCRIPT_S)
        except (OSError, subprocess.SubprocessError):
            continue
        if done.returncode == 0:
            return candidate
    return None


def run_as_ordinary_user(code: str, *arguments: str) -> object:
    """Run ``code`` under another uid with a public interpreter and copies of the package; its JSON output."""
    python = public_python()
    assert python is not None
    folder = tempfile.mkdtemp(prefix="couplet-test-")
    try:
        os.chmod(folder, 0o755)
        shutil.copytree(PACKAGE, f"{folder}/sandbox", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("corpus.py", "battle.py"):
            shutil.copy(HERE / name, folder)
        for path in Path(folder).rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        done = subprocess.run(
            [python, "-B", "-c", f"import sys; sys.path.insert(0, {folder!r})\n{code}", *arguments],
            user=ORDINARY_ID,
            group=ORDINARY_ID,
            extra_groups=[],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=SCRIPT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
