"""Images where no registry can be reached: a base of Debian's packages, and what is built on it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import docker
from docker.errors import ImageNotFound

from tests.deploy.tools import missing, tool

ROOT = Path(__file__).resolve().parents[2]
BASE = "couplet-test-base:bookworm"
_BUILD_S = 600
_ROOM = 4 << 30
_PACKAGES = "python3,python3-venv,libstdc++6,dash,coreutils,libc-bin,base-files,base-passwd,passwd"
_MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr"
_USERS = ("passwd", "group")
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
#: What pip is told on this machine and a build of ours takes as an argument.
_PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host")


def quick_folder() -> str | None:
    """Where an engine's data lie in memory, if there is room: images are made of many small files, each synced."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > _ROOM else None


def connect(url: str) -> Any:
    """A docker.DockerClient; the caller closes it."""
    return docker.DockerClient(base_url=url, version="auto", timeout=_BUILD_S)


def ensure_base(client: Any, folder: Path) -> str:
    """The name of an image with Python 3.11 of Debian's packages, unpacked but not configured.

    ``folder`` holds the archive meanwhile.
    """
    import_packages(client, folder, BASE, _PACKAGES)
    return BASE


def import_packages(client: Any, folder: Path, name: str, packages: str) -> None:
    """Make an image of these Debian packages, unpacked but not configured, unless it is there."""
    try:
        client.images.get(name)
    except ImageNotFound:
        archive = folder / "base.tar"
        _bootstrap(archive, packages)
        _add_files(archive)
        with archive.open("rb") as file:
            repository, _, tag = name.partition(":")
            client.api.import_image_from_data(file, repository=repository, tag=tag)
        archive.unlink()


def build(client: Any, context: Path, dockerfile: Path, tag: str) -> None:
    """As ``docker build -f dockerfile -t tag context`` with the base above and this machine's package index.

    A failing build is an AssertionError with its output.
    """
    arguments = {"BASE_IMAGE": BASE, **_pip_arguments()}
    told = [
        str(line.get("error") or line.get("stream") or "")
        for line in client.api.build(
            path=str(context),
            dockerfile=str(dockerfile.relative_to(context)),
            tag=tag,
            network_mode="host",
            buildargs=arguments,
            rm=True,
            decode=True,
        )
    ]
    assert any("Successfully tagged" in line for line in told), "".join(told)[-4000:]


def _bootstrap(archive: Path, packages: str) -> None:
    if os.geteuid() != 0:
        missing("a root file system of Debian's packages needs root")
    command = [
        str(tool("mmdebstrap")),
        "--quiet",
        "--variant=extract",
        f"--include={packages}",
        f"--hook-dir={_MERGED_USR}",
        "bookworm",
        str(archive),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_BUILD_S)
    assert done.returncode == 0, done.stderr[-2000:]


def _add_files(archive: Path) -> None:
    """What configuring the packages would have made, and the certificates that this machine trusts."""
    with tarfile.open(archive) as opened:
        found = {name: opened.extractfile(f"./usr/share/base-passwd/{name}.master") for name in _USERS}
        contents = {name: file.read() for name, file in found.items() if file is not None}
    with tarfile.open(archive, "a") as opened:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"./etc/{name}")
            entry.size, entry.mode = len(content), 0o644
            opened.addfile(entry, io.BytesIO(content))
        if os.path.exists(_CERTIFICATES):
            opened.add(os.path.realpath(_CERTIFICATES), f".{_CERTIFICATES}")


def _pip_arguments() -> dict[str, str]:
    arguments = {"PIP_CERT": _CERTIFICATES} if os.path.exists(_CERTIFICATES) else {}
    listed = subprocess.run(
        [str(tool("pip")), "config", "list"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    settings = dict(line.split("=", 1) for line in listed.splitlines() if "=" in line)
    for name in _PIP_SETTINGS:
        for section in ("global", ":env:"):  # the environment is the stronger
            value = settings.get(f"{section}.{name}", "").strip("'")
            addresses = [address for address in value.split() if not address.startswith(("file:", "/"))]
            if addresses:
                arguments[f"PIP_{name.upper().replace('-', '_')}"] = " ".join(addresses)
    return arguments
