"""The processes of a local Ray: those alone that a run uses, on machines where each costs a second of a core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray._private import node as ray_node
from ray._private import utils as ray_utils

from orchestrator.fleet.forking import setup_worker


class _Node(ray_node.Node):
    """A node without Ray's autoscaler, and without what copies the output of actors to the driver.

    Ray starts them whatever it is told: a single machine is not scaled, and runs copy no output. The dashboard's
    server it starts without a dashboard too, to report usage, and waits for it. A version of Ray that calls none
    of these methods starts what it likes. Workers are set up without Ray, which its own script imports for that.
    """

    def __init__(self, ray_params: Any, *arguments: Any, **settings: Any) -> None:
        ray_params.update_if_absent(setup_worker_path=str(Path(setup_worker.__file__)))
        super().__init__(ray_params, *arguments, **settings)

    def start_monitor(self) -> None:
        """Start no autoscaler."""

    def start_log_monitor(self) -> None:
        """Start nothing that copies output."""

    def start_api_server(self, *, include_dashboard: bool | None, **settings: Any) -> None:
        """Start the dashboard's server if there is to be a dashboard."""
        if include_dashboard:
            super().start_api_server(include_dashboard=include_dashboard, **settings)


@contextmanager
def used_services_alone(dashboard: bool) -> Iterator[None]:
    """Have a ``ray.init`` that starts a Ray start only what a run uses.

    Without a ``dashboard`` Ray is told that it lacks the packages of one: its agent then gathers nothing for it.
    """
    before = ray_node.Node, ray_utils.get_dashboard_dependency_error
    ray_node.Node = _Node  # type: ignore[misc]
    if not dashboard:
        ray_utils.get_dashboard_dependency_error = lambda: ImportError("no dashboard is wanted")
    try:
        yield
    finally:
        ray_node.Node, ray_utils.get_dashboard_dependency_error = before  # type: ignore[misc]
