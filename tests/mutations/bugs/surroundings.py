"""Bugs in evaluation, alerts and dashboards."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

BUGS = (
    Mutation(
        "excluded-completions-evaluated",
        "The pass rate leaves out completions that the sandbox failed on.",
        "orchestrator/rounds.py",
        old="for i, score in enumerate(group.scores) if not score.excluded]",
        new="for i, score in enumerate(group.scores)]",
        tests=("tests/orchestrator/test_rounds.py",),
    ),
    Mutation(
        "variance-biased",
        "The estimate of a variance is unbiased for any number of draws.",
        "evaluation/variance_sampled.py",
        old="_mean(products), len(products) / (len(products) - 1)",
        new="_mean(products), 1.0",
        tests=("tests/evaluation/test_variance.py",),
    ),
    Mutation(
        "alert-threshold",
        "The alert on infrastructure failures fires above one per cent.",
        "deploy/generate/alert_rules.py",
        old='"  > 0.01",',
        new='"  > 0.1",',
        tests=("tests/deploy/test_alerts.py",),
        generate=True,
    ),
    Mutation(
        "quantile-without-buckets",
        "A dashboard's quantile keeps the buckets apart.",
        "deploy/generate/queries.py",
        old="self.rate(key, 'le', *by, suffix='_bucket')",
        new="self.rate(key, *by, suffix='_bucket')",
        tests=("tests/deploy/test_dashboards.py",),
        generate=True,
    ),
)
