"""Ray's agent of a node, without the parts that serve a dashboard: it would import all of them, and run none.

Ray waits for its agents, and they import on cores that the run needs. Run with the path of Ray's own script and
its arguments.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from ray.dashboard import utils


def main() -> None:
    """Become Ray's agent."""
    utils.get_all_modules = lambda kind: []
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
