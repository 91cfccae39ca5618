"""Bugs in schedules, sampling, the denoising batch and the version fence."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_SCHEDULE = "rollout_workers/schedule.py"
_KERNELS = "rollout_workers/kernels.py"
_NUCLEUS = "rollout_workers/nucleus.py"
_BATCH = "rollout_workers/batch.py"
_FENCE = "common/weights/fence.py"
_TEST_SCHEDULE = ("tests/rollout_workers/test_schedule.py", "tests/rollout_workers/test_parity.py")
_TEST_SAMPLING = ("tests/rollout_workers/test_sampling.py",)
_TEST_DENOISE = ("tests/rollout_workers/test_denoise.py",)
_TEST_FENCE = ("tests/rollout_workers/test_fence.py",)

BUGS = (
    Mutation(
        "dream-schedule-rounds",
        "The published schedule of Dream truncates to whole tokens.",
        _SCHEDULE,
        old="int(np.float32(left) * (1 - then / now))",
        new="round(float(np.float32(left) * (1 - then / now)))",
        tests=_TEST_SCHEDULE,
    ),
    Mutation(
        "llada-remainder-last",
        "The published schedule of LLaDA hands out the remainder in its first steps.",
        _SCHEDULE,
        old="(step < block % steps)",
        new="(step >= steps - block % steps)",
        tests=_TEST_SCHEDULE,
    ),
    Mutation(
        "nucleus-edge",
        "The nucleus ends with the token whose mass reaches top-p.",
        _NUCLEUS,
        old="kept = (before < needed.unsqueeze(-1))",
        new="kept = (before <= needed.unsqueeze(-1))",
        tests=_TEST_SAMPLING,
    ),
    Mutation(
        "ties-behind-the-largest",
        "Where the last of a row's largest weights is kept, weights that tie with it may not be among them.",
        _NUCLEUS,
        old="return floor > largest[:, -1]",
        new="return floor >= largest[:, -1]",
        tests=_TEST_SAMPLING,
    ),
    Mutation(
        "search-cut-short",
        "The search for a nucleus goes on until one weight is left.",
        _KERNELS,
        old="while width > 1:",
        new="while width > 4096:",
        tests=_TEST_SAMPLING,
    ),
    Mutation(
        "second-vocabulary-block",
        "Inverse-CDF sampling goes on inside a block with what the blocks before it left.",
        "rollout_workers/sampling.py",
        old="rest = _below(targets - before.squeeze(-1), inside[:, -1])",
        new="rest = _below(targets, inside[:, -1])",
        tests=_TEST_SAMPLING,
    ),
    Mutation(
        "ends-before-its-text",
        "A completion ends when every position up to its first end-of-text token is committed.",
        _BATCH,
        old="done = (first_end < first_open) | (first_open == length)",
        new="done = (first_end < length) | (first_open == length)",
        tests=_TEST_DENOISE,
    ),
    Mutation(
        "overwritten-forgotten",
        "A rollout records what had been committed behind the end of its text.",
        _BATCH,
        old="overwritten=tuple((k, tokens[k], steps[k]) for k in range(end + 1, len(tokens)) if steps[k] >= 0),",
        new="overwritten=(),",
        tests=_TEST_DENOISE,
    ),
    Mutation(
        "step-map-late",
        "The step map names the step that committed a position.",
        _BATCH,
        old="steps = self.next_steps()[",
        new="steps = (self.next_steps() + 1)[",
        tests=_TEST_DENOISE,
    ),
    Mutation(
        "noise-reused",
        "A decoder that draws every candidate has fresh noise at every step.",
        _BATCH,
        old='_stream(row.request.key, "", row.step)',
        new='_stream(row.request.key, "")',
        tests=("tests/rollout_workers/test_distribution.py",),
    ),
    Mutation(
        "fence-admits-old-weights",
        "No batch starts on weights older than its prompt asks for.",
        _FENCE,
        old="and self.version >= min_version",
        new="and self.version >= 0",
        tests=_TEST_FENCE,
    ),
    Mutation(
        "half-written-weights-usable",
        "A load of weights that fails leaves the worker without a version.",
        _FENCE,
        old="before, done = self.version, -1",
        new="before, done = self.version, self.version",
        tests=_TEST_FENCE,
    ),
    Mutation(
        "cache-ignores-shift",
        "With shifted logits a cached block computes the row before its first token too.",
        "rollout_workers/approximate.py",
        old="first = self._denoiser.source_rows(begin)",
        new="first = begin",
        tests=("tests/rollout_workers/test_approximate.py",),
    ),
    Mutation(
        "row-that-predicts-a-mask-is-locked",
        "With shifted logits the row before a masked position is computed at every step.",
        "rollout_workers/locking.py",
        old="free[self._denoiser.source_rows(masked)] = False",
        new="free[masked] = False",
        tests=("tests/rollout_workers/test_locking.py",),
    ),
    Mutation(
        "old-weights-remembered",
        "New weights make an approximate sampler forget what it computed by the old ones.",
        "rollout_workers/row_places.py",
        old="before = self._spans if version == self._version else {}",
        new="before = self._spans",
        tests=("tests/rollout_workers/test_locking.py",),
    ),
)
