"""Bugs in likelihood estimators, streams, weights and metrics."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_COUPLED = "common/likelihood/coupled.py"
_CONSUMER = "common/streams/consumer.py"
_TEST_LIKELIHOOD = ("tests/common/test_likelihood.py", "tests/common/test_likelihood_masks.py")
_TEST_STREAMS = ("tests/common/test_streams.py",)

BUGS = (
    Mutation(
        "paper-weights",
        "The paper's weights are divided by pairs + 1, for any number of pairs.",
        _COUPLED,
        old='total = self.pairs + 1.0 if self.weighting == "paper"',
        new='total = 2.0 * self.pairs if self.weighting == "paper"',
        tests=_TEST_LIKELIHOOD,
    ),
    Mutation(
        "complement-weight",
        "A token of the complement is weighted by the inverse of the complement's ratio.",
        _COUPLED,
        old="weights.append(~bits / (1.0 - ratio))",
        new="weights.append(~bits / ratio)",
        tests=_TEST_LIKELIHOOD,
    ),
    Mutation(
        "complement-drawn-apart",
        "The second mask of a pair is the complement of the first.",
        _COUPLED,
        old="masks.append(~bits)",
        new="masks.append(random.random(length) >= ratio)",
        tests=_TEST_LIKELIHOOD,
    ),
    Mutation(
        "elbo-empty-subset",
        "The counted bound makes up for the subset of size 0.",
        "common/likelihood/elbo.py",
        old="(length + 1) / max(1, int(mask.sum()))",
        new="length / max(1, int(mask.sum()))",
        tests=_TEST_LIKELIHOOD,
    ),
    Mutation(
        "trace-shows-own-step",
        "The trace estimator masks what the step itself committed.",
        "common/likelihood/trace.py",
        old="masks = when >= firsts",
        new="masks = when > firsts",
        tests=("tests/common/test_likelihood_ordered.py",),
    ),
    Mutation(
        "publish-not-atomic",
        "A result is published and its cause acknowledged in one transaction.",
        _CONSUMER,
        old="transaction=True) as transaction:\n                transaction.xadd(key, fields)",
        new="transaction=False) as transaction:\n                transaction.xadd(key, fields)",
        tests=_TEST_STREAMS,
    ),
    Mutation(
        "reclaims-own-work",
        "A consumer does not claim messages that it is working on itself.",
        _CONSUMER,
        old='if pending["consumer"] != self.name.encode() or pending["message_id"] not in self._in_work',
        new='if pending["consumer"]',
        tests=_TEST_STREAMS,
    ),
    Mutation(
        "attempts-not-counted",
        "A claimed message counts one attempt more, so that it reaches the dead letters in time.",
        _CONSUMER,
        old='attempt = int(pending["times_delivered"]) + count',
        new='attempt = int(pending["times_delivered"])',
        tests=_TEST_STREAMS,
    ),
    Mutation(
        "lost-reply-doubles",
        "What took place although its reply was lost is not done again.",
        "common/streams/patience.py",
        old="if self.failures == before or not happened():",
        new="if True:",
        tests=("tests/common/test_streams_outages.py",),
    ),
    Mutation(
        "lost-reply-loses",
        "A message that was delivered into a lost reply is looked for.",
        _CONSUMER,
        old="            self._reply_lost = True\n",
        new="",
        tests=("tests/common/test_streams_outages.py",),
    ),
    Mutation(
        "old-bucket-accepted",
        "The checksum of a bucket of weights holds for its version only.",
        "common/weights/buckets.py",
        old="return (manifest.version << 20) + number",
        new="return number",
        tests=("tests/common/test_weights.py",),
    ),
    Mutation(
        "global-ar-ness-rank",
        "Global AR-ness@k looks at the k left-most masked positions.",
        "common/ar_ness.py",
        old="for _ in range(min(k, len(backwards)) - 1):",
        new="for _ in range(min(k, len(backwards))):",
        tests=("tests/common/test_ar_ness.py",),
    ),
    Mutation(
        "loss-of-last-chunk",
        "The fused loss is the sum over all chunks of rows.",
        "common/models/log_probabilities.py",
        old="value += part.detach()",
        new="value = part.detach()",
        tests=("tests/common/test_log_probabilities.py",),
    ),
)
