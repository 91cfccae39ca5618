"""The processes of a local Ray: those alone that a run uses, on machines where each costs a second of a core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ray._private import node as ray_node
from ray._private import ray_constants
from ray._private import services as ray_services
from ray._private import utils as ray_utils

from orchestrator.fleet.forking import setup_worker

_BARE_AGENT = str(Path(__file__).with_name("bare_agent.py"))
#: Ray splits the command lines of what a node starts at spaces: of scripts in such a folder it is given none.
_HAS_SPACE = any(map(str.isspace, __file__))


class _Node(ray_node.Node):
    """A node without Ray's autoscaler, and without what copies the output of actors to the driver.

    Ray starts them whatever it is told: a single machine is not scaled, and runs copy no output. The dashboard's
    server it starts without a dashboard too, to report usage, and waits for it. A version of Ray that calls none
    of these methods starts what it likes. Workers are set up without Ray, which its own script imports for that.
    """

    def __init__(self, ray_params: Any, *arguments: Any, **settings: Any) -> None:
        if not _HAS_SPACE and hasattr(ray_params, "setup_worker_path"):
            ray_params.update_if_absent(setup_worker_path=setup_worker.__file__)
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

    Without a ``dashboard`` Ray is told that it lacks the packages of one: its agent then gathers nothing for it,
    and is started so that it does not import what would.
    """
    name = "_build_python_executable_command_memory_profileable"
    python: Any = getattr(ray_services, name, None)

    def with_bare_agent(component: str, *arguments: Any, **settings: Any) -> list[str]:
        command: list[str] = python(component, *arguments, **settings)
        return [*command, _BARE_AGENT] if component == ray_constants.PROCESS_TYPE_DASHBOARD_AGENT else command

    with ExitStack() as stack:
        stack.enter_context(_replaced(ray_node, "Node", _Node))
        if not dashboard:
            lacking = ImportError("no dashboard is wanted")
            stack.enter_context(_replaced(ray_utils, "get_dashboard_dependency_error", lambda: lacking))
            if not _HAS_SPACE:
                stack.enter_context(_replaced(ray_services, name, with_bare_agent))
        yield


@contextmanager
def _replaced(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    """Replace a private name of Ray's for the length of the context; nothing in a version that lacks it."""
    if not hasattr(module, name):
        yield
        return
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
