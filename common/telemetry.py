"""Metrics: declared once here, exported by a prometheus-client endpoint in every process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server


@dataclass(frozen=True)
class Metric:
    """``key`` is the name in metrics.jsonl; Prometheus sees :attr:`prometheus_name`."""

    key: str
    help: str
    unit: str = ""

    @property
    def prometheus_name(self) -> str:
        name = "couplet_" + self.key.replace("/", "_")
        return f"{name}_{self.unit}" if self.unit else name


STEP_METRICS = (
    Metric("reward/mean", "Mean reward of the step's samples"),
    Metric("reward/std", "Standard deviation of the reward"),
    Metric("reward/tests", "Mean test reward before weighting"),
    Metric("reward/format", "Mean format reward before weighting"),
    Metric("reward/solved", "Share of samples that pass all tests"),
    Metric("reward/pass_rate", "Share of tests passed"),
    Metric("reward/masked", "Samples left out because the sandbox failed"),
    Metric("groups/trained", "Groups of the step"),
    Metric("groups/zero_variance", "Share of groups whose samples have one reward"),
    Metric("response/length_mean", "Mean completion length", "tokens"),
    Metric("response/truncated", "Share of completions without an end-of-text"),
    Metric("diffusion/ar_ness_local", "Local AR-ness at 1"),
    Metric("diffusion/ar_ness_global", "Global AR-ness at 1"),
    Metric("diffusion/ar_ness_local_at_4", "Local AR-ness at 4"),
    Metric("diffusion/ar_ness_global_at_4", "Global AR-ness at 4"),
    Metric("diffusion/steps", "Mean forward passes per completion"),
    Metric("diffusion/tokens_per_forward", "Text tokens per forward pass of a completion"),
    Metric("diffusion/surprisal", "Mean of -log p of a text token under the model at temperature 1", "nats"),
    Metric("diffusion/approximate", "Share of groups denoised by an approximate sampler"),
    Metric("staleness/mean", "Mean versions between the start of a group's sampling and its training"),
    Metric("staleness/max", "Largest number of versions between the start of a group's sampling and its training"),
    Metric("policy/loss", "Loss per unit of the objective: token, completion, group or pair"),
    Metric("policy/kl", "KL to the reference per token or completion"),
    Metric("policy/ratio_mean", "Mean likelihood ratio"),
    Metric("policy/clip_fraction", "Share of ratios that the clip stops"),
    Metric("policy/clip_low_fraction", "Share of ratios that the clip stops from below"),
    Metric("policy/clip_high_fraction", "Share of ratios that the clip stops from above"),
    Metric("policy/entropy", "Mean entropy of the model at the rows that are scored", "nats"),
    Metric("policy/estimator_variance", "Variance over masks of a token's estimate, mean over tokens"),
    Metric("policy/importance_mean", "Mean weight of a token against staleness"),
    Metric("policy/preference_accuracy", "Share of pairs whose better completion gained on the reference"),
    Metric("policy/preference_margin", "Mean scaled gain of the better completion over the worse one"),
    Metric("policy/valid_tokens", "Completion tokens trained on"),
    Metric("optim/grad_norm", "Gradient norm before clipping"),
    Metric("optim/learning_rate", "Learning rate"),
    Metric("seconds/wait", "Learner waiting for groups", "seconds"),
    Metric("seconds/update", "Learner updating", "seconds"),
    Metric("seconds/score", "Part of the update: old and reference policy", "seconds"),
    Metric("seconds/backward", "Part of the update: forward and backward passes", "seconds"),
    Metric("seconds/optimizer", "Part of the update: optimizer steps and reference syncs", "seconds"),
    Metric("seconds/checkpoint", "Learner writing a checkpoint", "seconds"),
    Metric("seconds/rollout", "Rollout work in the step's groups, over all workers", "seconds"),
    Metric("seconds/reward", "Reward work in the step's groups, over all workers", "seconds"),
    Metric("seconds/weights", "Weights on their way to the rollout workers", "seconds"),
    Metric("seconds/step", "Whole learner step", "seconds"),
    Metric("perf/samples_per_second", "Samples trained per second"),
    Metric("ledger/admitted", "Groups admitted"),
    Metric("ledger/trained", "Groups trained"),
    Metric("ledger/filtered", "Groups filtered for lack of variance"),
    Metric("ledger/dropped", "Groups dropped as stale or lost"),
    Metric("ledger/in_flight", "Groups in flight"),
    Metric("restarts", "Restarts of workers and learner so far"),
    Metric("evaluation/pass_rate", "Held-out pass rate"),
)

WORKER_COUNTERS = (
    Metric("worker/groups", "Groups handled by this process"),
    Metric("worker/samples", "Samples handled by this process"),
    Metric("worker/busy", "Time spent working", "seconds"),
    Metric("worker/forwards", "Forward passes of the completions, counted for each"),
    Metric("worker/tokens", "Text tokens committed"),
    Metric("worker/refused", "Groups given up because they cannot be denoised"),
    Metric("worker/infra_failures", "Samples masked because the sandbox failed"),
)


class Telemetry:
    """The Prometheus endpoint of one process, on a free loopback port."""

    def __init__(self, role: str, instance: str, host: str = "127.0.0.1") -> None:
        self._registry = CollectorRegistry()
        self._labels = {"role": role, "worker": instance}
        names = list(self._labels)
        self._step = Gauge("couplet_training_step", "Learner step", names, registry=self._registry)
        self._gauges = {
            m.key: Gauge(m.prometheus_name, m.help, names, registry=self._registry) for m in STEP_METRICS
        }
        self._counters = {
            m.key: Counter(m.prometheus_name, m.help, names, registry=self._registry) for m in WORKER_COUNTERS
        }
        self._server, self._thread = start_http_server(0, addr=host, registry=self._registry)
        self.address = f"{host}:{self._server.server_port}"

    def record(self, metrics: Mapping[str, float], step: int) -> None:
        """Set gauges; keys that are not declared are refused with KeyError."""
        self._step.labels(**self._labels).set(step)
        for key, value in metrics.items():
            self._gauges[key].labels(**self._labels).set(value)

    def count(self, key: str, amount: float = 1.0) -> None:
        self._counters[key].labels(**self._labels).inc(amount)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5.0)
