"""What this machine has to run programs in other languages than Python."""

from __future__ import annotations

import os
import shutil


def node_program() -> str:
    """Find the Node of this machine, for programs in JavaScript; empty where there is none."""
    return os.path.realpath(found) if (found := shutil.which("node")) else ""
