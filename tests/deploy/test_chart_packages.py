"""What the init container of ``code.packages`` does, run for real on a folder of wheels."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

from tests.deploy.chart_render import render_values
from tests.deploy.chart_sites import packages

_METADATA = "Metadata-Version: 2.1\nName: {}\nVersion: 1.0\nRequires-Dist: numpy==0.0.1\n"
_WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _write_wheel(folder: Path, name: str) -> None:
    """Of one module, whose package asks for a numpy that nobody has."""
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "HERE = True\n")
        wheel.writestr(f"{about}/METADATA", _METADATA.format(name))
        wheel.writestr(f"{about}/WHEEL", _WHEEL)
        wheel.writestr(f"{about}/RECORD", "")


def _moved(text: str, places: dict[str, str]) -> str:
    for inside, here in places.items():
        text = text.replace(inside, here)
    return text


def test_packages_are_installed_from_wheels_without_a_network_and_without_what_they_need(tmp_path: Path) -> None:
    wheels, target, scratch = (tmp_path / name for name in ("wheels", "packages", "tmp"))
    for folder in (wheels, target, scratch):
        folder.mkdir()
    _write_wheel(wheels, "site_rewards")
    volume = {
        "extraVolumes": [{"name": "wheels", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "wheels", "mountPath": str(wheels)}],
    }
    install = {"code": {"packages": {"install": ["site_rewards==1.0"], "wheels": str(wheels)}}}
    container = packages(render_values(install | {"ray": volume, "rewards": volume}), "rewards")
    places = {"/tmp/": f"{scratch}/", "/opt/couplet-packages": str(target)}
    command = [_moved(word, places) if str(wheels) not in word else word for word in container["command"]]
    assert {"/opt/couplet-packages", "/tmp"} <= {mount["mountPath"] for mount in container["volumeMounts"]}
    nothing_else = {"PATH": "/usr/bin:/bin", "HOME": str(scratch)}
    subprocess.run(command, env=nothing_else, check=True, capture_output=True, timeout=120)
    assert (target / "site_rewards.py").read_text() == "HERE = True\n"
    assert not (target / "numpy").exists()
