"""Where to look while a run goes: what `couplet train` prints."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from orchestrator.fleet.cluster import Access


def cluster_places(folder: Path, access: Access) -> dict[str, str]:
    """The run's folder and what Ray shows."""
    places = {"run folder": str(folder), "actors": access.listing}
    address = access.dashboard
    if address:
        token = os.environ.get("RAY_AUTH_TOKEN_PATH")
        asks = f" (asks for the token in {token})" if token else ""
        places["Ray dashboard"] = f"{address if '://' in address else f'http://{address}'}{asks}"
    return places


def run_places(folder: Path, metrics_address: str) -> dict[str, str]:
    """What the run itself serves and writes; ``metrics_address`` is the host:port of its driver."""
    return {
        "metrics": f"http://{metrics_address}/metrics; all of the run's: http://{metrics_address}/targets, "
        f"{folder / 'prometheus-targets.json'}",
        "report": f"{folder / 'report.html'} from the first step on; renew it with "
        f"couplet report {shlex.quote(str(folder))}",
    }
