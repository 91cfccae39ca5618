"""What a metric is: a key in metrics.jsonl, and a name and labels in Prometheus."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

#: Labels that every series of a process carries: run id, kind of process, and its name.
PROCESS_LABELS = ("run", "role", "worker")


class Kind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """One metric, declared once.

    ``key``: its name in metrics.jsonl, TensorBoard and W&B; ``{label}`` in it stands for a label's value.
    ``name``: its name in Prometheus without prefix and unit, where it is not the key with ``_`` for ``/``.
    ``when``: what makes it appear, for one that not every run has.
    """

    key: str
    help: str
    unit: str = ""
    kind: Kind = Kind.GAUGE
    labels: tuple[str, ...] = ()
    name: str = ""
    when: str = ""

    @property
    def prometheus_name(self) -> str:
        """The name that is given to prometheus-client, which adds ``_total`` to that of a counter."""
        name = "couplet_" + (self.name or self.key.replace("/", "_"))
        return f"{name}_{self.unit}" if self.unit else name

    @property
    def series_names(self) -> tuple[str, ...]:
        """The names that Prometheus stores."""
        suffixes = {Kind.GAUGE: ("",), Kind.COUNTER: ("_total",), Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}
        return tuple(self.prometheus_name + suffix for suffix in suffixes[self.kind])

    def labels_in(self, key: str) -> dict[str, str] | None:
        """The values of the labels in a key of this metric; None if ``key`` is not one."""
        found = self._pattern.fullmatch(key)
        return found.groupdict() if found else None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        parts = re.split(r"\{(\w+)\}", self.key)
        return re.compile("".join(f"(?P<{p}>[^/]+)" if i % 2 else re.escape(p) for i, p in enumerate(parts)))
