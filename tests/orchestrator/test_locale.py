"""Commands in a locale that knows no more than ASCII, in a Python that does not make up for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.common.tasks.task_rows import OWN

ROOT = Path(__file__).parents[2]
MINIMAL = "model: {path: builtin:quickstart}\ndata: {source: synthetic}\n"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
TEXT = "naïve \N{GREEK SMALL LETTER LAMDA} \N{PARTY POPPER}"


def couplet(*arguments: object) -> str:
    """Run a command; return what it writes."""
    command = [sys.executable, "-m", "couplet_rl", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, env={**os.environ, **ASCII}, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("utf-8")


def test_text_of_any_language_goes_in_and_out_under_the_c_locale(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text(json.dumps(OWN | {"prompt": TEXT}, ensure_ascii=False) + "\n", encoding="utf-8")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"run: {{about: '{TEXT}', steps: 1}}\nmodel: {{path: builtin:quickstart}}\n"
        f"data: {{train: {file}, max_prompt_tokens: 128}}\n",
        encoding="utf-8",
    )
    shown = couplet("train", recipe, "--dry-run", f"data.system_prompt={TEXT}")
    assert "1 training tasks" in shown
    assert shown.count(r"\u03BB") == 2
    assert TEXT in couplet("data", "show", file)


def test_text_is_read_and_written_as_utf8_by_whoever_imports_couplet(tmp_path: Path) -> None:
    """Without the command, which sees to it that Python is in its UTF-8 mode."""
    recipe, file = tmp_path / "recipe.yaml", tmp_path / "tasks.jsonl"
    recipe.write_text(f"run: {{about: '{TEXT}'}}\n{MINIMAL}", encoding="utf-8")
    file.write_text(json.dumps(OWN | {"prompt": TEXT}, ensure_ascii=False) + "\n", encoding="utf-8")
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from common.config import dump_config, load_config\nfrom common.tasks.loader import load_tasks\n"
        "config = load_config(Path(sys.argv[1]))\n"
        "assert config.run.about == load_tasks(sys.argv[2]).tasks[0].prompt\n"
        "dumped = Path(sys.argv[1]).with_name('dumped.yaml')\n"
        "dumped.write_text(dump_config(config))\nassert load_config(dumped) == config\n"
    )
    command = [sys.executable, "-c", code, str(recipe), str(file)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **ASCII}, check=True)
