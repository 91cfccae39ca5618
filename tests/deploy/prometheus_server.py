"""A real Prometheus on a free loopback port."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from tests.deploy.tools import tool

_START_SECONDS = 60.0
_END_SECONDS = 30.0
_ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class Series:
    """``points``: Unix times and values, oldest first."""

    labels: dict[str, str]
    points: list[tuple[float, float]]

    @property
    def value(self) -> float:
        """The newest."""
        return self.points[-1][1]


class Prometheus:
    """Runs for the length of the context. ``folder`` takes its configuration, log and data (``folder/data``)."""

    def __init__(self, config: str, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client(timeout=_ANSWER_SECONDS)
        self.url = ""

    def __enter__(self) -> Prometheus:
        """Raises RuntimeError with the log if it ends or is not ready in time."""
        binary = tool("prometheus")
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "prometheus.yml"
        file.write_text(self._config)
        command = [
            str(binary),
            f"--config.file={file}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            "--storage.tsdb.retention.time=10y",
            "--web.listen-address=127.0.0.1:0",
            "--log.format=json",
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        try:
            self._wait_until_ready()
        except RuntimeError:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def query(self, expr: str) -> list[Series]:
        """What ``expr`` is now. Raises ValueError with Prometheus' reason where it is wrong."""
        result = self._get("query", {"query": expr})["result"]
        return [Series(one["metric"], _points([one["value"]])) for one in result]

    def query_range(self, expr: str, seconds: float, step: float = 0.0) -> list[Series]:
        """The last ``seconds``, every ``step`` seconds, by default in 120 steps. Raises ValueError as above."""
        now = time.time()
        step = step or max(seconds / 120, 0.5)
        request = {"query": expr, "start": str(now - seconds), "end": str(now), "step": str(step)}
        return [
            Series(one["metric"], _points(one["values"])) for one in self._get("query_range", request)["result"]
        ]

    def targets(self) -> list[dict[str, Any]]:
        """The endpoints that it scrapes, with ``scrapeUrl``, ``health`` and ``lastError``."""
        found: list[dict[str, Any]] = self._get("targets", {"state": "active"})["activeTargets"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """The rules of all groups, with ``name``, ``health``, ``lastError`` and, of an alert, ``state``."""
        return [rule for group in self._get("rules", {})["groups"] for rule in group["rules"]]

    @property
    def _log(self) -> Path:
        return self._folder / "prometheus.log"

    def _get(self, path: str, parameters: dict[str, str]) -> dict[str, Any]:
        answer = self._client.get(f"{self.url}/api/v1/{path}", params=parameters).json()
        if answer["status"] != "success":
            raise ValueError(f"{answer['error']}: {parameters}")
        data: dict[str, Any] = answer["data"]
        return data

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            # It picks its port itself, and says which in its log.
            said = [json.loads(line) for line in self._log.read_text().splitlines() if line.endswith("}")]
            listening = [line["address"] for line in said if line.get("msg") == "Listening on"]
            if listening:
                self.url = f"http://{listening[0]}"
                if self._client.get(f"{self.url}/-/ready").is_success:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"prometheus is not ready:\n{self._log.read_text()}")

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_END_SECONDS)
        self._process = None
        self._client.close()


def _points(values: list[list[Any]]) -> list[tuple[float, float]]:
    return [(float(moment), float(value)) for moment, value in values]
