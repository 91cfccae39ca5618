"""PromQL over the metrics of the registry, by their keys."""

from __future__ import annotations

import re
from dataclasses import dataclass

from common.metrics.metric import Kind, Metric
from common.metrics.registry import METRICS

_BY_KEY = {metric.key: metric for metric in METRICS}
_BY_SERIES = {name: metric for metric in METRICS for name in metric.series_names}
_WINDOW = "[$__rate_interval]"
#: What tells a run from all others: teams that do not know of each other may name theirs alike. A Prometheus that
#: knows no namespaces has series without that label.
WHOSE = ("namespace", "run")
#: Series of the runs that a dashboard's variables choose.
CHOSEN = 'namespace=~"$namespace",run=~"$run"'


@dataclass(frozen=True)
class Query:
    """A PromQL expression, and what Grafana calls its series; ``{{label}}`` stands for a label's value."""

    expr: str
    legend: str


def metrics_in(expr: str) -> list[Metric]:
    """The registry's metrics that an expression names, in order."""
    return [_BY_SERIES[name] for name in dict.fromkeys(re.findall(r"couplet_\w+", expr))]


class Scope:
    """Expressions over the series that the dashboard's variables choose.

    ``matchers`` choose them; ``by`` are labels that every result keeps, beside those that a method is given. The
    others go: a process that was restarted elsewhere is another ``instance``, and still the same line.
    """

    def __init__(self, matchers: str, by: tuple[str, ...]) -> None:
        self._matchers = matchers
        self._by = by

    def newest(self, key: str, *by: str, where: str = "") -> str:
        """A gauge; the largest where several processes report it."""
        return f"max by ({self._kept(by)}) ({self._series(key, where)})"

    def by_step(self, key: str) -> str:
        """The last value of a gauge of the driver at each learner step, which is the result's label ``step``."""
        values = f"{self.newest(key)} * on ({self._kept(())}) group_right ()"
        steps = f'count_values by ({self._kept(())}) ("step", {self.newest("run/step")})'
        return f"last_over_time(({values} {steps})[$__range:$__interval])"

    def mean(self, key: str, *by: str) -> str:
        """A gauge, averaged over the processes."""
        return f"avg by ({self._kept(by)}) ({self._series(key, '')})"

    def either(self, *keys: str) -> str:
        """Those of some gauges that the run has; their names stay in ``__name__``."""
        names = "|".join(_named(key) for key in keys)
        return f'max by (__name__, {self._kept(())}) ({{__name__=~"{names}",{self._matchers}}})'

    def total(self, key: str, *by: str, where: str = "") -> str:
        """A gauge, added up over the processes."""
        return f"sum by ({self._kept(by)}) ({self._series(key, where)})"

    def rate(self, key: str, *by: str, where: str = "", suffix: str = "") -> str:
        """A counter's growth a second, added up over the processes. ``suffix``: which part of a histogram."""
        return f"sum by ({self._kept(by)}) (rate({self._series(key, where, suffix)}{_WINDOW}))"

    def increase(self, key: str, window: str) -> str:
        """A counter's growth within ``window``, added up over the processes."""
        return f"sum by ({self._kept(())}) (increase({self._series(key, '')}[{window}]))"

    def share(self, part: str, whole: str, *by: str) -> str:
        """What a counter is of another, both over the last moments; nothing while the second stands still."""
        return f"{self.rate(part, *by)} / ({self.rate(whole, *by)} > 0)"

    def average(self, key: str, *by: str) -> str:
        """A histogram's mean."""
        return f"{self.rate(key, *by, suffix='_sum')} / ({self.rate(key, *by, suffix='_count')} > 0)"

    def quantile(self, q: float, key: str, *by: str) -> str:
        """A histogram's quantile."""
        return f"histogram_quantile({q}, {self.rate(key, 'le', *by, suffix='_bucket')})"

    def _kept(self, by: tuple[str, ...]) -> str:
        return ", ".join(dict.fromkeys([*self._by, *by]))

    def _series(self, key: str, where: str, suffix: str = "") -> str:
        return f"{_named(key)}{suffix}{{{','.join(filter(None, [self._matchers, where]))}}}"


def _named(key: str) -> str:
    """The name of a metric's series; of a histogram's, without their suffix. Raises KeyError for a wrong key."""
    metric = _BY_KEY[key]
    return metric.prometheus_name if metric.kind is Kind.HISTOGRAM else metric.series_names[0]
