"""Commands in a locale that knows no more than ASCII, in a Python that does not make up for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.common.tasks.task_rows import OWN
from tests.orchestrator.recorded_runs import make_run

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
TEXT = "naïve \N{GREEK SMALL LETTER LAMDA} \N{PARTY POPPER}"


def couplet(*arguments: object) -> str:
    """Run commands one after the other in one process; return what they write."""
    commands = json.dumps([[*map(str, command)] for command in arguments])
    code = (
        "import json, os, sys, couplet_rl\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    sys.argv = ['couplet', *(os.fsdecode(word.encode()) for word in words)]\n"
        "    try: couplet_rl.main()\n"
        "    except SystemExit as end:\n"
        "        if end.code: raise\n"
    )
    environment = {**os.environ, **ASCII}
    done = subprocess.run(
        [sys.executable, "-c", code, commands], capture_output=True, env=environment, check=False
    )
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
    run = make_run(tmp_path / "run")
    with (run / "samples.jsonl").open("a", encoding="utf-8") as samples:
        samples.write(json.dumps({"step": 1, "prompt": TEXT, "completion": TEXT}, ensure_ascii=False) + "\n")
    output = couplet(
        ["data", "show", file],
        ["train", recipe, "--dry-run", f"data.system_prompt={TEXT}"],
        ["report", run],
    )
    assert output.count(TEXT) >= 1
    assert "\N{GREEK SMALL LETTER LAMDA}" in (run / "report.html").read_text(encoding="utf-8")
