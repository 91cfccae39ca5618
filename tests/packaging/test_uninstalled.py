"""Code that a job brings along, on an image that has the dependencies but not our package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.packaging.environments import packages_folders

REPOSITORY = Path(__file__).parents[2]


def test_the_command_and_the_run_folder_need_no_installed_package(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.mkdir()
    for entry in (entry for folder in packages_folders() for entry in folder.iterdir()):
        if "couplet" not in entry.name and not (image / entry.name).exists():
            (image / entry.name).symlink_to(entry)
    sent = tmp_path / "sent"  # without the egg-info that an editable install leaves in a clone
    sent.mkdir()
    for entry in REPOSITORY.iterdir():
        if not entry.name.startswith(".") and entry.suffix != ".egg-info":
            (sent / entry.name).symlink_to(entry)
    code = (
        "import sys; from pathlib import Path; from importlib.metadata import packages_distributions\n"
        "from common.config import load_config; from orchestrator.run_folder import RunFolder\n"
        "assert 'orchestrator' not in packages_distributions()\n"
        "config = load_config(Path('recipes/quickstart.yaml'), [f'run.folder={sys.argv[1]}'])\n"
        "RunFolder.open(config, resume=False).close()\n"
        "from couplet_rl import main; sys.argv = ['couplet', 'train', 'quickstart', '--dry-run']; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(tmp_path / "run")],  # -S: without this environment's packages
        cwd=sent,
        env={**os.environ, "PYTHONPATH": f"{sent}{os.pathsep}{image}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "resources: CPU only" in done.stdout
    assert '"couplet-rl": null' in (tmp_path / "run/run.json").read_text()
