"""The Prometheus endpoint that every process of a run has."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, make_wsgi_app
from prometheus_client.registry import Collector

from common.metrics.export import LabelledProcess
from common.metrics.metric import PROCESS_LABELS, Kind, Metric
from common.metrics.registry import BY_ROLE, find

#: Gives the addresses, with port, for Prometheus HTTP service discovery.
Targets = Callable[[], Iterable[str]]


def endpoint_host(host: str, ray_address: str) -> str:
    """Return the address to listen at: ``host``; for ``auto``, loopback with a local Ray, else the node's own."""
    if host != "auto":
        return host
    if ray_address == "local":
        return "127.0.0.1"
    import ray

    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


class Telemetry:
    """Serves the metrics of one process at ``/metrics`` and, given ``targets``, the run's addresses at
    ``/targets``.

    ``role`` decides what there is to count (:data:`common.metrics.registry.BY_ROLE`). ``port`` 0 takes a free one.
    """

    def __init__(
        self,
        role: str,
        worker: str,
        run_id: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        targets: Targets | None = None,
    ) -> None:
        self._registry = CollectorRegistry()
        self._labels = dict(zip(PROCESS_LABELS, (run_id, role, worker), strict=True))
        self._metrics = {metric.key: metric for metric in BY_ROLE[role]}
        self._series: dict[str, Gauge | Counter] = {}
        for metric in self._metrics.values():
            if metric.kind is Kind.COUNTER and metric.key.startswith("worker/"):
                self._of(metric).labels(**self._labels)  # a counter that has counted nothing is exported as 0
        self._registry.register(LabelledProcess(self._labels))
        self._targets = targets
        self._metrics_app = make_wsgi_app(self._registry)
        self._server = make_server(host, port, self._serve, _Server, _Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, name="telemetry", daemon=True)
        self._thread.start()
        self.address = f"{host}:{self._server.server_port}"

    @property
    def labels(self) -> dict[str, str]:
        """The labels that every series of this process carries."""
        return dict(self._labels)

    def register(self, collector: Collector) -> None:
        """Export the metrics of ``collector`` too."""
        self._registry.register(collector)

    def count(self, key: str, amount: float = 1.0) -> None:
        """Increment a counter. Raises KeyError for one that is not declared for this role."""
        counter = self._of(self._metrics[key])
        counter.labels(**self._labels).inc(amount)

    def set(self, key: str, value: float) -> None:
        """Set a gauge. Raises KeyError for one that is not declared for this role."""
        gauge = self._of(self._metrics[key])
        assert isinstance(gauge, Gauge)
        gauge.labels(**self._labels).set(value)

    def record(self, metrics: Mapping[str, float], step: int) -> None:
        """Set the gauges of a learner step. Raises KeyError for a key that is not declared."""
        self.set("run/step", step)
        for key, value in metrics.items():
            metric, labels = find(key)
            gauge = self._of(metric)
            assert isinstance(gauge, Gauge)
            gauge.labels(**self._labels, **labels).set(value)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5.0)

    def _of(self, metric: Metric) -> Gauge | Counter:
        """Return the series of a metric; create it on first use, so that a gauge nobody has set is not
        exported."""
        if metric.key not in self._series:
            kind = Counter if metric.kind is Kind.COUNTER else Gauge
            names = [*self._labels, *metric.labels]
            self._series[metric.key] = kind(metric.prometheus_name, metric.help, names, registry=self._registry)
        return self._series[metric.key]

    def _serve(self, environment: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environment.get("PATH_INFO", "")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics_app(environment, start_response)
            return answer
        if path == "/targets" and self._targets is not None:
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps([{"targets": list(self._targets())}]).encode()]
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"metrics are at /metrics\n"]


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """Does not log requests: a scrape comes every few seconds."""

    timeout = 30.0

    def log_message(self, format: str, *args: Any) -> None:
        pass
