"""Bugs in advantages, objectives, the engine, the collector and checkpoints."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_OBJECTIVE = "learner/objectives/ratios.py"
_COLLECTOR = "learner/collector.py"
_ENGINE = "learner/engine.py"
_CHECKPOINTS = "learner/checkpoints.py"
_TEST_OBJECTIVE = ("tests/learner/test_objective.py",)
_TEST_COLLECTOR = ("tests/learner/test_collector.py",)
_TEST_CHECKPOINTS = ("tests/learner/test_checkpoints.py",)
_TEST_ENGINE = ("tests/learner/test_engine.py",)

BUGS = (
    Mutation(
        "baseline-of-excluded",
        "Excluded samples do not enter the baseline of their group.",
        "learner/advantages.py",
        old="mean = reward[mask].mean()",
        new="mean = reward.mean()",
        tests=("tests/learner/test_advantages.py",),
    ),
    Mutation(
        "rewards-normalized-together",
        "Each reward is divided by its own spread before they are added up.",
        "learner/reward_advantages.py",
        old='group_advantages(values, valid, "mean_sample_std")',
        new='group_advantages(values, valid, "mean")',
        tests=("tests/learner/test_reward_advantages.py",),
    ),
    Mutation(
        "clip-side",
        "The upper bound of the ratio is a setting of its own.",
        _OBJECTIVE,
        old="ratio.clamp(1.0 - self.low, 1.0 + self.high)",
        new="ratio.clamp(1.0 - self.low, 1.0 + self.low)",
        tests=_TEST_OBJECTIVE,
    ),
    Mutation(
        "kl-sign",
        "The KL estimate takes the log-ratio of the other policy to this one.",
        _OBJECTIVE,
        old="difference = anchor - new",
        new="difference = new - anchor",
        tests=_TEST_OBJECTIVE,
    ),
    Mutation(
        "gradient-averaged-over-ranks",
        "The loss is divided by the tokens of all ranks together.",
        _ENGINE,
        old="loss * (self._world / count)",
        new="loss / count",
        tests=_TEST_ENGINE,
    ),
    Mutation(
        "old-of-the-update-before",
        "Old estimates of every update of a step are those of the weights that the step began with.",
        _ENGINE,
        old="needs_old = update > 0 and self._objective.needs_old",
        new="needs_old = update >= first and self._objective.needs_old",
        tests=_TEST_ENGINE,
    ),
    Mutation(
        "metrics-of-valid-tokens",
        "Metrics are means over what is measured.",
        _OBJECTIVE,
        old="return Sums(loss, metrics, units=new.numel())",
        new="return Sums(loss, metrics, units=2 * new.numel())",
        tests=_TEST_ENGINE,
    ),
    Mutation(
        "reference-moves-too-far",
        "The reference moves its share of the way to the policy.",
        "learner/reference.py",
        old="exact.lerp_(theirs, share)",
        new="exact.lerp_(theirs, 1.0 - share)",
        tests=_TEST_ENGINE,
    ),
    Mutation(
        "tokens-cut-apart",
        "Views that measure one token are scored in one pass.",
        "learner/partition.py",
        old="if by_token and all(_measures_once(views, sample) for sample, views in drawn):",
        new="if by_token:",
        tests=("tests/learner/test_partition.py", *_TEST_ENGINE),
    ),
    Mutation(
        "importance-floor",
        "Importance weights are truncated from above only.",
        "learner/batch.py",
        old="ratio.clamp(max=cap)",
        new="ratio.clamp(min=1.0 / cap, max=cap)",
        tests=("tests/learner/test_importance_weights.py",),
    ),
    Mutation(
        "pairs-of-equal-reward",
        "A preference pair has two different rewards.",
        "learner/objectives/vrpo.py",
        old="if better.reward <= worse.reward:",
        new="if better.reward < worse.reward:",
        tests=("tests/learner/test_sequence_objectives.py",),
    ),
    Mutation(
        "staleness-bound",
        "A group of exactly the allowed staleness is trained.",
        _COLLECTOR,
        old="staleness > self.max_staleness",
        new="staleness >= self.max_staleness",
        tests=_TEST_COLLECTOR,
    ),
    Mutation(
        "consumed-group-again",
        "A group that was consumed is not trained a second time.",
        _COLLECTOR,
        old="return not self.progress.holds(index) and index not in self._waiting",
        new="return index not in self._waiting",
        tests=_TEST_COLLECTOR,
    ),
    Mutation(
        "acknowledges-what-waits",
        "A checkpoint acknowledges the groups that it holds, and no other.",
        "learner/source.py",
        old="self._acknowledge([index for index in self._unacknowledged if progress.holds(index)])",
        new="self._acknowledge(list(self._unacknowledged))",
        tests=("tests/learner/test_source.py",),
    ),
    Mutation(
        "acknowledged-before-checkpoint",
        "Groups are acknowledged once a checkpoint holds them.",
        "learner/learner_loop.py",
        old="        self._save_checkpoint(self._progress)\n        self._saved_version = self._progress.version\n"
        "        if self._source:\n            self._source.checkpointed()\n",
        new="        if self._source:\n            self._source.checkpointed()\n"
        "        self._save_checkpoint(self._progress)\n        self._saved_version = self._progress.version\n",
        tests=("tests/learner/test_learner_worker.py",),
    ),
    Mutation(
        "damage-unnoticed",
        "A checkpoint with a damaged file is not loaded: the one before is.",
        _CHECKPOINTS,
        old="        if damage is None:\n            return checkpoint, lines\n",
        new="        if checkpoint.is_dir():\n            return checkpoint, lines\n",
        tests=_TEST_CHECKPOINTS,
    ),
    Mutation(
        "keeps-one-fewer",
        "The last keep_checkpoints checkpoints are kept.",
        "learner/retention.py",
        old="[: -self.last]",
        new="[: len(steps) + 2 - self.last]",
        tests=_TEST_CHECKPOINTS,
    ),
)
