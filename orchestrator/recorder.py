"""Records of a run of reinforcement learning while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict

from common.config import Config
from common.streams import Streams, open_client
from learner.learner_loop import StepReport
from orchestrator.admission import Ledger
from orchestrator.fleet.fleet import Fleet
from orchestrator.fleet.turns import TurnTaken
from orchestrator.fleet.weights_check import Verified
from orchestrator.reward_plateau import KEY as PLATEAU
from orchestrator.reward_plateau import RewardPlateau
from orchestrator.rounds import Evaluation
from orchestrator.run_metrics import StreamCollector
from orchestrator.run_recorder import Outlets, RunOutput, RunRecorder, open_outlets

#: Redis may hang when Prometheus asks, which would rather know the rest than wait.
_REDIS_SECONDS = 2.0
_SAMPLES_KEPT_PER_STEP = 4


class Recorder(RunRecorder):
    """Record learner steps and held-out evaluations everywhere."""

    def __init__(self, steps: int, output: RunOutput, outlets: Outlets) -> None:
        super().__init__(steps, output, outlets)
        self._plateau = RewardPlateau(output.folder.records("metrics"))

    def rewind(self, step: int) -> None:
        super().rewind(step)
        self._plateau = RewardPlateau(self._folder.records("metrics"))

    def step(
        self,
        report: StepReport,
        step_seconds: float,
        weights_seconds: float,
        ledger: Ledger,
        fleet: Mapping[str, float],
    ) -> None:
        """Record a learner step: its metrics and the ``fleet``'s everywhere, its groups and a few of its samples.

        The numbers of its groups and the samples go to the folder.
        """
        metrics = report.metrics | {
            PLATEAU: float(self._plateau.add(report.metrics)),
            "seconds/weights": weights_seconds,
            "seconds/step": step_seconds,
            "perf/samples_per_second": report.samples / step_seconds,
            "ledger/admitted": float(ledger.admitted),
            "ledger/trained": float(ledger.trained),
            "ledger/filtered": float(ledger.filtered),
            "ledger/dropped": float(ledger.dropped),
            "ledger/in_flight": float(ledger.in_flight),
            **fleet,
        }
        self._totals.samples += report.samples
        self._record_samples(report.version, _samples(report))
        trained = [group.prompt.index for group in report.groups]
        self._folder.append("groups", {"step": report.version, "trained": trained})
        self._record_step(report.version, metrics, step_seconds)

    def evaluation(self, result: Evaluation, seconds: float) -> None:
        """Record a held-out evaluation that took ``seconds``."""
        metrics = {"evaluation/pass_rate": result.pass_rate}
        self._record_evaluation(result.version, metrics, result.as_record(), seconds)
        self._display.evaluation(result.version, metrics, result.by_family)

    def turn(self, taken: TurnTaken) -> None:
        """Record that an actor has ended its turn on a device that it shares."""
        self._folder.append("turns", {"step": taken.step, "actor": taken.actor, **asdict(taken.turn)})

    def verified(self, found: Verified) -> None:
        """Record that rollout workers hold the published weights bit for bit."""
        self._folder.append("verifications", asdict(found))
        way = "loaded again" if found.reloaded else "by broadcast"
        self.note(
            f"weights {found.version}, {way}: {found.tensors} tensors, {found.bytes / 1e6:.1f} MB, are bit for "
            f"bit the learner's in {', '.join(found.workers)} ({found.seconds:.1f} s)"
        )


@contextmanager
def open_recorder(config: Config, output: RunOutput, redis_url: str, fleet: Fleet) -> Iterator[Recorder]:
    """Open the recorder of a run that stands at the learner's version, and show where its figures are."""
    with ExitStack() as stack:
        outlets = stack.enter_context(open_outlets(config, output, fleet.by_role, fleet.learner.version))
        watched = Streams(open_client(redis_url, _REDIS_SECONDS), output.folder.run_id, config.streams)
        stack.callback(watched.client.close)
        outlets.telemetry.register(StreamCollector(config, watched, outlets.telemetry.labels))
        yield Recorder(config.run.total_steps, output, outlets)


def _samples(report: StepReport) -> list[dict[str, object]]:
    """Return a few samples of a step for the report: the first of each of the first groups."""
    samples = []
    for group in report.groups[:_SAMPLES_KEPT_PER_STEP]:
        if group.rollouts is not None:
            score = group.scores[0]
            samples.append(
                {
                    "step": report.version,
                    "task_id": group.prompt.task.id,
                    "family": group.prompt.task.family,
                    "prompt": group.prompt.task.prompt,
                    "completion": group.rollouts.rollouts[0].text,
                    "reward": score.reward,
                    "components": score.components,
                    "verdicts": [str(verdict) for verdict in score.verdicts],
                }
            )
    return samples
