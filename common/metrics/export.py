"""Metrics as Prometheus families."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from common.metrics.metric import Kind, Metric
from common.metrics.processes import PROCESS


def family(metric: Metric, process: Mapping[str, str], samples: Iterable[tuple[tuple[str, ...], float]]) -> Family:
    """A gauge or counter: (values of the metric's own labels, value), each with the labels of the process."""
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    found = kind(metric.prometheus_name, metric.help, labels=[*process, *metric.labels])
    for values, value in samples:
        found.add_metric([*process.values(), *values], value)
    return found


class LabelledProcess(Collector):
    """What the operating system says of this process, with the labels of its other metrics."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = dict(labels)
        self._source = ProcessCollector(namespace="couplet", registry=None)

    def collect(self) -> Iterable[Family]:
        found = {one.name: one for one in self._source.collect()}
        for metric in PROCESS:
            if metric.prometheus_name in found:
                value = found[metric.prometheus_name].samples[0].value
                yield family(metric, self._labels, [((), value)])
