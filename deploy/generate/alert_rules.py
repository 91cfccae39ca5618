"""The alerts."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Alert:
    """``wait``: how long the expression must hold. The texts may hold ``$labels`` and ``$value``."""

    name: str
    expr: str
    wait: str
    severity: str
    summary: str
    description: str

    @property
    def full_name(self) -> str:
        return "Couplet" + self.name

    @property
    def anchor(self) -> str:
        """The heading about this alert in docs/troubleshooting.md: RewardFlat is ``reward-flat``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", self.name).lower()

    @property
    def annotations(self) -> dict[str, str]:
        return {
            "summary": self.summary,
            "description": self.description,
            "runbook": f"docs/troubleshooting.md#{self.anchor}",
        }


ALERTS = (
    Alert(
        "RewardFlat",
        "max by (namespace, run) (couplet_reward_plateau_steps) >= 100\n"
        "and on (namespace, run) max by (namespace, run) (avg_over_time(couplet_reward_solved[30m])) < 0.9",
        "5m",
        "warning",
        "{{ $labels.run }}: the reward has not risen for {{ $value | humanize }} steps",
        "The mean reward of ten steps has not exceeded its best by a tenth of the reward's standard deviation "
        "since then. Look at the groups without variance: where most samples of a group get one reward, choose "
        "easier or harder tasks or a larger rollout.group_size. If there is variance, look at the gradient norm "
        "and at learner.optimizer.learning_rate.",
    ),
    Alert(
        "RewardFalling",
        "max_over_time(max by (namespace, run) (avg_over_time(couplet_reward_mean[30m]))[6h:10m])\n"
        "  - max by (namespace, run) (avg_over_time(couplet_reward_mean[30m]))\n"
        "  > 0.5 * max by (namespace, run) (avg_over_time(couplet_reward_std[6h]))",
        "15m",
        "warning",
        "{{ $labels.run }}: the reward is {{ $value | humanize }} below its best of the last six hours",
        "The mean of half an hour fell by more than half of the reward's spread. Look at KL, clipped ratios "
        "and gradient norm at the time of the fall: lower learner.optimizer.learning_rate or raise "
        "learner.objective.kl_weight, and resume from a checkpoint before it. If they are calm, look at "
        "infrastructure failures and at the tasks.",
    ),
    Alert(
        "InfraFailures",
        "sum by (namespace, run, role) (increase(couplet_scoring_excluded_total[15m]))\n"
        "  / sum by (namespace, run, role) (increase(couplet_scoring_completions_total[15m]))\n"
        "  > 0.01",
        "10m",
        "warning",
        "{{ $labels.role }} {{ $labels.run }}: {{ $value | humanizePercentage }} of the completions got no reward",
        "The sandbox failed on them twice or their deadline passed, so they are left out of training. Look at "
        "live slots and slots given up, at the memory and load of the scoring machines, and run `couplet "
        "doctor` there.",
    ),
    Alert(
        "StalenessAtBound",
        "max by (namespace, run) (avg_over_time(couplet_staleness_mean[30m]))\n"
        "  >= 0.95 * max by (namespace, run) (couplet_run_max_staleness)\n"
        "and on (namespace, run) max by (namespace, run) (couplet_run_max_staleness) > 1",
        "30m",
        "warning",
        "{{ $labels.run }}: groups are as stale as they may be ({{ $value | humanize }} versions)",
        "Groups wait for the learner until they are as old as admission.max_staleness allows. The learner is "
        "the bottleneck: give it more ranks, or take rollout workers away; a lower admission.max_staleness or "
        "admission.max_in_flight makes the groups fresher at no cost.",
    ),
    Alert(
        "QueueStuck",
        "max by (namespace, run, stream) (couplet_stream_messages)\n"
        "  - max by (namespace, run, stream) (couplet_stream_pending) > 0\n"
        "and on (namespace, run, stream)\n"
        "  sum by (namespace, run, stream) (increase(couplet_stream_delivered_total[15m])) == 0\n"
        "unless on (namespace, run)\n"
        "  time() - max by (namespace, run) (couplet_run_step_end_timestamp_seconds)\n"
        "  < 2 * max by (namespace, run) (couplet_step_seconds)",
        "10m",
        "critical",
        "{{ $labels.run }}: {{ $value | humanize }} messages of {{ $labels.stream }} wait, and nobody takes any",
        "The consumers of this stream are dead, hang, or wait for something else. Look at the actors by state "
        "and at their logs (`ray list actors`, `ray logs`); with reward.workers: 0 see that a reward service "
        "reads this run.",
    ),
    Alert(
        "DeadLetters",
        'sum by (namespace, run) (couplet_stream_messages{stream="dead-letters"}) > 0',
        "0m",
        "warning",
        "{{ $labels.run }}: {{ $value | humanize }} messages could not be read",
        "Another version of Couplet wrote them, or they were damaged. They are kept in the stream dead-letters "
        "with their errors; read them with redis-cli, mend the cause, and resume.",
    ),
    Alert(
        "WorkerFlapping",
        "sum by (namespace, run, pool) (increase(couplet_fleet_restarts_total[1h])) > 3",
        "5m",
        "warning",
        "{{ $labels.run }}: {{ $value | humanize }} restarts of {{ $labels.pool }} in an hour",
        "Actors of this pool die again and again; past deadlines.restarts the run ends. The run's notes say "
        "why each one died: out of memory, a lost node, a deadline that is too short.",
    ),
    Alert(
        "DiskFilling",
        "min by (namespace, run) (couplet_run_disk_free_bytes / couplet_run_disk_size_bytes) < 0.05\n"
        "or (\n"
        "  min by (namespace, run) (couplet_run_disk_free_bytes / couplet_run_disk_size_bytes) < 0.3\n"
        "  and on (namespace, run)\n"
        "  min by (namespace, run) (predict_linear(couplet_run_disk_free_bytes[3h], 21600)) < 0\n"
        ")",
        "15m",
        "critical",
        "{{ $labels.run }}: {{ $value | humanizePercentage }} of the disk with the run folder is free",
        "A checkpoint that cannot be written ends the run. Delete old runs, keep fewer checkpoints "
        "(learner.keep_checkpoints), or move run.folder to a larger disk and resume.",
    ),
    Alert(
        "RunGone",
        "max by (namespace, run) (last_over_time(couplet_training_step[1h]))\n"
        "  < max by (namespace, run) (last_over_time(couplet_training_steps_planned[1h]))\n"
        "    - (60 / max by (namespace, run) (last_over_time(couplet_step_seconds[1h]))\n"
        "       or 0 * max by (namespace, run) (last_over_time(couplet_training_step[1h])))\n"
        "unless on (namespace, run) max by (namespace, run) (couplet_training_step)",
        "5m",
        "critical",
        "{{ $labels.run }}: gone at step {{ $value | humanize }}, before its last",
        "Its driver answers no more: it crashed, was stopped, or cannot be reached. Look at `ray job logs` "
        "and give its command again with `--resume auto`. An hour after its end the alert goes by "
        "itself.",
    ),
    Alert(
        "RunStalled",
        "time() - max by (namespace, run) (couplet_run_step_end_timestamp_seconds) > 1800\n"
        "and on (namespace, run) time() - max by (namespace, run) (couplet_run_step_end_timestamp_seconds)\n"
        "  > 10 * max by (namespace, run) (couplet_step_seconds)",
        "5m",
        "critical",
        "{{ $labels.run }}: no step for {{ $value | humanizeDuration }}",
        "The last step took less than a tenth of that. Look at the streams for where groups wait, and at the "
        "actors by state for who is missing.",
    ),
    Alert(
        "NotFinite",
        "max by (namespace, run) (abs(couplet_denoising_loss)) == Inf\n"
        "or max by (namespace, run) (couplet_denoising_loss != couplet_denoising_loss)\n"
        "or max by (namespace, run) (abs(couplet_optim_grad_norm)) == Inf\n"
        "or max by (namespace, run) (couplet_optim_grad_norm != couplet_optim_grad_norm)",
        "0m",
        "critical",
        "{{ $labels.run }}: the loss or the gradient is not a number",
        "The run has diverged. Resume it from a checkpoint before that with a lower "
        "learner.optimizer.learning_rate, a longer warm-up, or a smaller max_grad_norm.",
    ),
    Alert(
        "PolicyDrift",
        "max by (namespace, run) (avg_over_time(couplet_policy_kl[30m])) > 1",
        "15m",
        "warning",
        "{{ $labels.run }}: the policy is {{ $value | humanize }} nats from its reference",
        "It has left the model that it started from, which costs its general skill before the reward shows it. "
        "Raise learner.objective.kl_weight or lower learner.optimizer.learning_rate, and resume from a checkpoint "
        "before the rise.",
    ),
    Alert(
        "EntropyCollapse",
        "max by (namespace, run) (avg_over_time(couplet_policy_entropy_nats[30m]))\n"
        "  < 0.2 * max by (namespace, run) (max_over_time(couplet_policy_entropy_nats[1d:10m]))",
        "30m",
        "warning",
        "{{ $labels.run }}: entropy is down to {{ $value | humanize }} nats a token",
        "The policy writes nearly one program for each task, so that groups have no variance to learn from. Raise "
        "rollout.temperature or learner.objective.kl_weight, or resume from a checkpoint before the fall.",
    ),
    Alert(
        "RedisDown",
        "max by (namespace, instance) (redis_up) == 0",
        "2m",
        "critical",
        "Redis {{ $labels.instance }} does not answer its exporter",
        "Runs wait for it, and go on where they were once it is back. Look at its pod: out of memory, a lost "
        "node, or a full volume.",
    ),
    Alert(
        "RedisFull",
        "max by (namespace, instance) (redis_memory_used_bytes)\n"
        "  / (max by (namespace, instance) (redis_memory_max_bytes) > 0)\n"
        "  > 0.9",
        "5m",
        "warning",
        "Redis {{ $labels.instance }}: {{ $value | humanizePercentage }} of its memory is used",
        "At the end of it Redis refuses messages, and runs wait. Raise its memory, or lower streams.capacity and "
        "learner.checkpoint_steps, and delete the streams of runs that have ended.",
    ),
    Alert(
        "GpusIdle",
        'avg by (namespace) (DCGM_FI_DEV_GPU_UTIL{pod=~".*-(learner|rollout)-.*"}) < 5\n'
        "and on (namespace) max by (namespace) (couplet_training_step)",
        "30m",
        "warning",
        "{{ $labels.namespace }}: GPUs of a run are busy for {{ $value | humanize }} % of the time",
        "Something else is the bottleneck. Look at where a step's time goes: the learner waits where rollouts or "
        "rewards are slow, and rollout workers wait where admission.max_in_flight or admission.max_staleness is "
        "low.",
    ),
    Alert(
        "RolloutMismatch",
        "max by (namespace, run) (couplet_mismatch_mean_nats) > 0.1",
        "5m",
        "critical",
        "{{ $labels.run }}: rollout workers and learner differ by {{ $value | printf `%.2f` }} nats a token",
        "For weights of one version rounding in bf16 gives a small part of that, so rollouts come from another "
        "policy than the one that is trained. Resume with rollout.verify_weights: true, which compares every "
        "tensor. If they are equal, see that workers and learner compute in the same dtype (model.dtype), and try "
        "the torch backend.",
    ),
    Alert(
        "WeightSyncSlow",
        "max by (namespace, run) (avg_over_time(couplet_step_weights_seconds[30m]))\n"
        "  / max by (namespace, run) (avg_over_time(couplet_step_seconds[30m]))\n"
        "  > 0.2",
        "15m",
        "warning",
        "{{ $labels.run }}: {{ $value | humanizePercentage }} of a step is weights on their way to the workers",
        "Look at learner.weights_transport and at the run's notes. Workers that miss a broadcast load the weights "
        "again, out of shared memory or, on another machine, the object store. Weights for which there is no "
        "shared memory go through the object store, which is slower: leave room for two versions of them. Between "
        "GPUs check that NCCL uses the fast network.",
    ),
    Alert(
        "RewardHackingSuspected",
        "sum by (namespace, run, role) (increase(couplet_scoring_hacking_detected_total[1h]))\n"
        "  / sum by (namespace, run, role) (increase(couplet_scoring_hacking_probes_total[1h]))\n"
        "  > 0.02\n"
        "and on (namespace, run, role)\n"
        "  sum by (namespace, run, role) (increase(couplet_scoring_hacking_detected_total[1h])) > 5",
        "10m",
        "warning",
        "{{ $labels.role }} {{ $labels.run }}: "
        "{{ $value | humanizePercentage }} of the failed programs would fool a naive grader",
        "They end as a success, or compare equal to everything, without solving the task. Verdicts here do "
        "not fall for it, but the policy explores it: read samples.jsonl, and see what share of the passes "
        "could be forged (reward.own_process and reward.allow_forgeable decide that).",
    ),
    Alert(
        "LearnerStarved",
        "max by (namespace, run) (avg_over_time(couplet_step_wait_seconds[30m]))\n"
        "  / max by (namespace, run) (avg_over_time(couplet_step_seconds[30m]))\n"
        "  > 0.5\n"
        "and on (namespace, run) max by (namespace, run) (couplet_run_max_staleness) > 0",
        "30m",
        "warning",
        "{{ $labels.run }}: the learner waits for {{ $value | humanizePercentage }} of its time",
        "Groups come too slowly. If a stream is long, its consumers are the bottleneck: add rollout or reward "
        "workers. If all are short, admission is: raise admission.max_in_flight. A synchronous run is not "
        "looked at, for there the learner waits by design.",
    ),
)
