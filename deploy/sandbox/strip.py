"""Leave Python, its standard library and the system's libraries in this root file system, and no other program.

Runs while the sandbox image is built, on what is then copied into it. Nothing but Python can be started then; it
is found as /usr/local/bin/python3 wherever the base has it.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

PROGRAMS = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/usr/libexec")
UNUSED = ("/boot", "/home", "/root", "/usr/include", "/usr/lib/python3", "/usr/local/include", "/usr/src", "/var")
UNUSED_LIBRARIES = ("site-packages", "dist-packages", "ensurepip", "idlelib", "test", "turtledemo")
KEPT_OF_SHARE = "zoneinfo"
FOUND_AT = Path("/usr/local/bin/python3")


def main() -> None:
    python = Path(sys.executable).resolve()
    for folder in PROGRAMS:
        for path in Path(folder).glob("*"):
            if path.resolve() != python and not (path.is_dir() and not path.is_symlink()):
                path.unlink()
    library = Path(sysconfig.get_path("stdlib"))
    shared = [path for path in Path("/usr/share").glob("*") if path.name != KEPT_OF_SHARE]
    for path in (*map(Path, UNUSED), *(library / name for name in UNUSED_LIBRARIES), *shared):
        if path.is_dir() and not python.is_relative_to(path):
            shutil.rmtree(path)
    if FOUND_AT.resolve() != python:
        FOUND_AT.parent.mkdir(parents=True, exist_ok=True)
        FOUND_AT.symlink_to(python)
    Path(__file__).unlink()


if __name__ == "__main__":
    main()
