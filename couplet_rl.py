"""The entry point of the ``couplet`` command.

It imports nothing of ours until it knows that ours is what would be imported: the rooms are top-level packages
with plain names, and a module of the user's on the path before them would take their place. It needs no room
itself.
"""

from __future__ import annotations

import codecs
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

ROOMS = (
    "benchmarks",
    "common",
    "evaluation",
    "learner",
    "orchestrator",
    "reward_service",
    "rollout_workers",
    "sandbox",
)


def main() -> None:
    """Run the ``couplet`` command."""
    signal.signal(signal.SIGTERM, _end_at_once)
    _enter_utf8_mode()
    hidden = hidden_room()
    if hidden is not None:
        sys.stderr.write(f"error: {hidden}\n")
        sys.exit(2)
    from orchestrator.commands.main import main as couplet

    couplet(prog_name="couplet")


def _enter_utf8_mode() -> None:
    """Start again in Python's UTF-8 mode where the locale, as ``LC_ALL=C``, has another encoding.

    Ray, and the processes that it starts, read the command line, paths and text in that encoding, and fail on what
    it lacks. A caller that made up the arguments is left as it is: to start again would be to call it again.
    """
    if codecs.lookup(sys.getfilesystemencoding()).name == "utf-8":
        return
    given = sys.argv[1:]
    if sys.orig_argv[len(sys.orig_argv) - len(given) :] == given:
        command = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONUTF8": "1"})


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """Answer a signal that comes while the command itself is imported."""
    os.write(2, f"stopped by {signal.Signals(number).name} before anything was started\n".encode())
    os._exit(128 + number)


def hidden_room(first: Sequence[str] = ()) -> str | None:
    """Return what is wrong where a module that is not ours would be imported under the name of a room, else None.

    Ours are the rooms that lie beside each other. ``first`` are folders to search before ``sys.path``.
    """
    found = {room: place for room in ROOMS if (place := _place(room, first)) is not None}
    folders = Counter(place.parent for place in found.values()).most_common()
    if len(folders) < 2:
        return None
    ours, hider = folders[0][0], folders[1][0]
    room = next(room for room, place in found.items() if place.parent == hider)
    return (
        f"{_file(found[room])} would be imported in place of couplet's own {_file(ours / room)}; rename it, or "
        f"run couplet where {hider} is not on Python's path (the current folder or PYTHONPATH)"
    )


def _place(room: str, first: Sequence[str]) -> Path | None:
    """Return the folder of the package, or the file of the module, that the name means."""
    spec: ModuleSpec | None = PathFinder.find_spec(room, [*first, *sys.path]) or find_spec(room)
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin or room).resolve()


def _file(place: Path) -> Path:
    """Return the file that Python imports for a package's folder; a folder without one is a package too."""
    file = place / "__init__.py"
    return file if file.exists() else place


if __name__ == "__main__":
    main()
