"""A root file system with this interpreter and nothing else: no shell, no tools, no installed packages.

Files keep their paths, as in the jail, so an interpreter knows itself wherever it was installed. Only Node, where
this machine has it, goes to where the launcher looks for that of any image.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from sandbox.inside import node, rootfs

_LDD_S = 60.0
_LDD_PATH = re.compile(r"(/\S+) \(0x")
_UNWANTED = {"site-packages", "dist-packages", "test", "tests", "idlelib", "ensurepip", "turtledemo"}
_UNWANTED_SUFFIXES = (".opt-1.pyc", ".opt-2.pyc", ".a", ".o")
# Asked for by name, by programs and (when a thread ends itself) by the C library.
_BESIDE_C_LIBRARY = ("libgcc_s.so.1", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1", "libutil.so.1")
_MOUNT_POINTS = ("/dev", "/etc", "/proc", "/sys")


def interpreter() -> str:
    """Return the path of the executable, which is the same in the image."""
    return os.path.realpath(sys.executable)


def write(file: BinaryIO, node_program: str = "") -> None:
    """Write the file system as a tar archive, with ``node_program`` if it is named.

    Raises OSError when the libraries of either cannot be found.
    """
    files = {path: path for folder in _standard_library() for path in _files_below(folder)}
    program = interpreter()
    files[program] = program
    extensions = [path for path in files if path.endswith(".so")]
    links: dict[str, str] = {}
    for name in ("lib", "lib64"):  # a merged /usr: the loader is asked for by its old path
        if os.path.islink(f"/{name}"):
            links[f"/{name}"] = os.readlink(f"/{name}")
    if os.path.basename(program) != "python3":
        links[os.path.join(os.path.dirname(program), "python3")] = os.path.basename(program)
    if node_program:
        _, *modules = rootfs.node_paths(node_program)
        files |= {path: path for folder in modules for path in _files_below(folder)}
        files[node.OF_AN_IMAGE[0]] = node_program
    _add_libraries([program, *extensions, *([node_program] if node_program else [])], files, links)
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for folder in [*_folders_of([*files, *links]), *_MOUNT_POINTS]:
            _add(archive, folder, tarfile.DIRTYPE, 0o755)
        _add(archive, "/tmp", tarfile.DIRTYPE, 0o1777)  # a runtime gives the mount over it this mode
        for path, target in links.items():
            _add(archive, path, tarfile.SYMTYPE, 0o777, target)
        for path, source in sorted(files.items()):
            _add_file(archive, path, source)


def _standard_library() -> set[str]:
    found = {os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    return found | {path for path in ("/usr/share/zoneinfo", "/usr/lib/locale") if os.path.isdir(path)}


def _files_below(folder: str) -> Iterator[str]:
    for current, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _UNWANTED and not name.startswith("config-")]
        for name in names:
            path = os.path.join(current, name)
            if not name.endswith(_UNWANTED_SUFFIXES) and os.path.isfile(path):
                yield path


def _add_libraries(programs: list[str], files: dict[str, str], links: dict[str, str]) -> None:
    done = subprocess.run(
        ["ldd", *programs], capture_output=True, text=True, check=False, timeout=_LDD_S, env={"PATH": os.defpath}
    )
    found = {_without_links(path) for path in _LDD_PATH.findall(done.stdout)}
    standard = next((path for path in found if os.path.basename(path).startswith(("libc.so", "libc.musl"))), None)
    if standard is None:
        raise OSError(f"ldd names no C library of {programs[0]}: {done.stderr.strip()[:200]}")
    home = os.path.dirname(standard)
    found |= {path for name in _BESIDE_C_LIBRARY if os.path.isfile(path := os.path.join(home, name))}
    for path in found:
        files[path] = os.path.realpath(path)
        beside = os.path.join(home, os.path.basename(path))
        if beside != path and beside not in found and ".so" in os.path.basename(path):
            links[beside] = path  # where the loader looks without its cache, which only root could make


def _without_links(path: str) -> str:
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _folders_of(paths: Iterable[str]) -> list[str]:
    folders: set[str] = set()
    for path in paths:
        while (path := os.path.dirname(path)) != "/":
            folders.add(path)
    return sorted(folders)


def _add(archive: tarfile.TarFile, path: str, kind: bytes, mode: int, target: str = "") -> None:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.type, entry.mode, entry.linkname = kind, mode, target
    archive.addfile(entry)


def _add_file(archive: tarfile.TarFile, path: str, source: str) -> None:
    with open(source, "rb") as file:
        facts = os.fstat(file.fileno())
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.size, entry.mtime = facts.st_size, int(facts.st_mtime)  # compiled files are checked against it
        entry.mode = 0o755 if facts.st_mode & 0o111 else 0o644
        archive.addfile(entry, file)
