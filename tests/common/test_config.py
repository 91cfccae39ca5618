from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.config import (
    Config,
    ConfigError,
    Section,
    StageConfig,
    TorchBackendConfig,
    VllmBackendConfig,
    dump_config,
    load_config,
    load_stage_config,
)
from common.config.loading import sections_in
from common.records import Sampler
from common.sampler import DECODERS

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
MINIMAL = {"model": {"path": "builtin:quickstart"}, "data": {"source": "synthetic"}}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_shipped_recipe_is_valid_and_survives_a_round_trip(path: Path, tmp_path: Path) -> None:
    config = _load(path)
    dumped = tmp_path / "dumped.yaml"
    dumped.write_text(dump_config(config))
    assert _load(dumped) == config


def _load(recipe: Path) -> Config | StageConfig:
    """Read a recipe of either kind of run."""
    stage = yaml.safe_load(recipe.read_text()).get("stage")
    return load_config(recipe) if stage is None else load_stage_config(recipe, stage)


@pytest.mark.parametrize("name", ["diffucoder_8xh100", "diffucoder_10x8h100"])
def test_a_recipe_with_vllm_differs_in_the_backend_and_the_name_alone(name: str) -> None:
    plain = load_config(ROOT / f"recipes/{name}.yaml")
    ours = load_config(ROOT / f"recipes/{name}_vllm.yaml")
    assert isinstance(ours.rollout.backend, VllmBackendConfig)
    rollout = ours.rollout.model_copy(update={"backend": plain.rollout.backend})
    assert ours.run.name == f"{plain.run.name}-vllm"
    run = ours.run.model_copy(update={"name": plain.run.name})
    assert ours.model_copy(update={"rollout": rollout, "run": run}) == plain


@pytest.mark.parametrize(
    ("name", "gpus", "tokens"),
    [
        ("adapt", 80, lambda config, sequences: config.run.steps * sequences * 4096),
        # Of epochs, the steps that 16 B tokens and 436 K examples are.
        ("pretrain", 64, lambda config, sequences: config.run.epochs * 16e9),
        ("sft", 64, lambda config, sequences: config.run.epochs * 436_000 * 2048),
    ],
)
def test_the_papers_stages_have_the_tokens_that_their_comments_say(
    name: str, gpus: int, tokens: Callable[[StageConfig, int], float]
) -> None:
    path = ROOT / f"recipes/diffucoder_{name}.yaml"
    config = load_stage_config(path, yaml.safe_load(path.read_text())["stage"])
    sequences = config.learner.sequences_per_step
    assert config.learner.ranks == gpus
    assert sequences == 2 * gpus
    said = re.search(r"([\d,]+) steps x (\d+) (?:sequences|examples) x ([\d,]+) tokens", path.read_text())
    assert said
    steps, batch, context = (int(part.replace(",", "")) for part in said.groups())
    assert (batch, context) == (sequences, config.data.context_length)
    assert steps * batch * context == pytest.approx(tokens(config, sequences), rel=0.01)


def test_there_are_recipes() -> None:
    assert RECIPES


def test_minimal_recipe_round_trips_with_paths_tuples_and_nothing_set(recipe: Path, tmp_path: Path) -> None:
    config = load_config(recipe, ["run.folder=/tmp/x", "learner.optimizer.betas=[0.8, 0.95]"])
    dumped = tmp_path / "dumped.yaml"
    dumped.write_text(dump_config(config))
    assert load_config(dumped) == config
    assert config.folder == Path("/tmp/x")
    assert config.learner.optimizer.betas == (0.8, 0.95)


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("nonsense", ["run", "model", "learner", "deadlines"]),
        ("learner.nonsense", ["groups_per_step", "optimizer", "objective"]),
        ("learner.optimizer.nonsense", ["learning_rate", "betas", "max_grad_norm"]),
        ("learner.estimator.nonsense", ["kind", "mask_pairs", "mask_ratio", "weighting"]),
        ("learner.objective.nonsense", ["kind", "clip", "kl_weight"]),
        ("rollout.backend.nonsense", ["kind"]),
        ("streams.nonsense", ["url", "capacity", "claim_seconds"]),
    ],
)
def test_unknown_key_names_the_known_keys_of_its_section(recipe: Path, key: str, known: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(recipe, [f"{key}=1"])
    line = next(line for line in str(caught.value).splitlines() if "unknown key" in line)
    assert line.strip().startswith(f"{key}: unknown key")
    listed = line.partition("known keys here: ")[2].split(", ")
    assert set(known) <= set(listed)
    assert "nonsense" not in listed


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learner.groups_per_step=many", "learner.groups_per_step"),
        ("learner.groups_per_step=2.5", "learner.groups_per_step"),
        ("learner=7", "learner"),
        ("rollout.group_size=1", "rollout.group_size"),
        ("rollout.top_p=0", "rollout.top_p"),
        ("rollout.decoder=magic", "rollout.decoder"),
        ("rollout.denoising_steps=257", "denoising_steps"),
        ("rollout.top_k=-1", "rollout.top_k"),
        ("rollout.decoder_temperature=-0.5", "rollout.decoder_temperature"),
        ("rollout.threshold=0", "rollout.threshold"),
        ("rollout.threshold=1", "rollout.threshold"),
        ("rollout.block_length=-1", "rollout.block_length"),
        ("rollout.block_length=100", "block_length: must divide completion_length"),
        ("rollout.block_length=512", "block_length: must divide completion_length"),
        ("rollout.upstream=maybe", "rollout.upstream"),
        ("rollout.approximate_cache=full", "rollout.approximate_cache"),
        ("rollout.approximate_cache=prefix", "approximate_cache: is renewed at every block"),
        ("rollout.batch_tokens=0", "rollout.batch_tokens"),
        ("learner.approximation_cap=2", "learner.approximation_cap: .* set rollout.approximate_measured_share"),
        ("rollout.batch_tokens=767", "rollout.batch_tokens: smaller than one row, .* = 768"),
        ("rollout.update_between=tokens", "rollout.update_between"),
        ("rollout.compile=always", "rollout.compile"),
        ("rollout.backend=sglang", "rollout.backend: kind: choose torch or vllm"),
        ("rollout.backend=2", r"rollout.backend: kind: choose torch or vllm \(got 2\)"),
        ("rollout.backend.tensor_parallel_size=2", "tensor_parallel_size: unknown key of kind torch"),
        ("rollout.backend={kind: vllm, tensor_parallel_size: 0}", "rollout.backend.tensor_parallel_size"),
        ("rollout.backend={kind: vllm, gpu_memory_utilization: 0}", "rollout.backend.gpu_memory_utilization"),
        ("rollout.backend={kind: vllm, dtype: float16}", "rollout.backend.dtype"),
        ("learner.estimator.mask_ratio=[0.8, 0.2]", "mask_ratio"),
        ("learner.estimator.mask_ratio=[0, 0.5]", "mask_ratio"),
        ("admission.max_in_flight=3", "admission.max_in_flight"),
        ("streams.capacity=10", "streams.capacity"),
        ("data.source=file", "train"),
        ("run.id=a/b", "run.id"),
        ("rollout.ray_resource=GPU", "rollout.ray_resource: GPU is counted by Ray itself; name a custom resource"),
        ("learner.ray_resource=8", "learner.ray_resource"),
        ("rollout.min_workers=2", "min_workers: more than all 1 workers; lower it or raise workers"),
        ("rollout.min_workers=0", "rollout.min_workers"),
        ("reward.workers=-1", "reward.workers"),
        ("rollout.gpus_per_worker=1.5", "rollout.gpus_per_worker: an actor has whole GPUs, or a part of one"),
        ("learner.gpus_per_rank=0.00001", "learner.gpus_per_rank: Ray counts no part of a GPU below 0.0001"),
        ("reward.workers=0", "run.id: reward.workers: 0 leaves scoring to `couplet serve-rewards`"),
        ("streams.url='env:'", "streams.url: name an environment variable after env:"),
        ("streams.url='env:A B'", "streams.url: name an environment variable after env:"),
        ("telemetry.port=65536", "telemetry.port"),
        ("telemetry.loggers=[mlflow]", "telemetry.loggers"),
        ("run.name=a/b", "run.name"),
        ("deadlines.step_seconds=0", "deadlines.step_seconds"),
    ],
)
def test_value_that_cannot_be_used_names_its_field(recipe: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(recipe, [override])
    assert str(recipe) in str(caught.value)


def test_bf16_weights_need_shards_for_the_fp32_ones_and_bf16_passes(recipe: Path) -> None:
    weights, shards = "learner.weights_dtype=bfloat16", "learner.zero_stage=1"
    with pytest.raises(ConfigError, match=r"weights_dtype: .*; set zero_stage to 1, 2 or 3"):
        load_config(recipe, [weights, "learner.zero_stage=0", "model.dtype=bfloat16"])
    with pytest.raises(ConfigError, match=r"learner.weights_dtype: .*; set model.dtype: bfloat16"):
        load_config(recipe, [weights, shards, "model.dtype=float32"])
    assert load_config(recipe, [weights, shards, "model.dtype=bfloat16"]).learner.weights_dtype == "bfloat16"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["block_length=64", "denoising_steps=254"], "denoising_steps: must be a multiple of .* 4 here"),
        (["decoder=origin", "decoder_temperature=0.5"], "decoder_temperature: the origin decoder"),
        (["decoder=random", "decoder_temperature=0.5"], "decoder_temperature: the random decoder"),
        (["decoder=threshold", "decoder_temperature=0.5"], "decoder_temperature: the threshold decoder"),
        (["decoder=threshold", "upstream=true"], "upstream: the threshold decoder"),
        (["decoder=entropy", "upstream=true", "block_length=64"], "upstream: the published entropy decoder"),
        (["approximate_cache=dual", "block_length=0"], "approximate_cache: is renewed at every block"),
        (
            ["backend=vllm", "approximate_cache=dual", "block_length=0"],
            "approximate_cache: the vllm backend .*; set approximate_cache: none, or backend: torch",
        ),
        (["backend=vllm", "approximate_locking=0.1"], "approximate_locking: the vllm backend .*: 0, or backend"),
        (["backend={kind: vllm, tensor_parallel_size: 2}", "gpus_per_worker=1"], "gpus_per_worker: .* 2, or 0"),
        (["backend=vllm", "gpus_per_worker=0.5"], "gpu_memory_utilization: .*; set it to 0.5 or less"),
        (["completion_length=128"], "denoising_steps: more steps than tokens"),
        (["batch_tokens=800", "completion_length=320"], "rollout.batch_tokens: smaller than one row, .* = 832"),
    ],
)
def test_rollout_settings_that_contradict_each_other_name_a_field(
    recipe: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(recipe, [f"rollout.{setting}" for setting in settings])
    assert str(recipe) in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["admission.max_staleness=1"], "admission.max_staleness: .* set admission.max_staleness: 0"),
        (["rollout.backend=vllm"], "rollout.backend: .* set rollout.backend: torch"),
        (["rollout.min_workers=1"], "rollout.min_workers: .* leave it out"),
        (["rollout.update_between=steps"], "rollout.update_between: .* auto"),
        (["learner.ranks=2", "rollout.workers=3"], "rollout.workers: 3 .* multiple of learner.ranks"),
        (
            ["rollout.ray_resource=a", "learner.ray_resource=b"],
            r"rollout.ray_resource: .* learner.ray_resource \(b\)",
        ),
        (["rollout.gpus_per_worker=1"], "rollout.gpus_per_worker: .* to 1 both"),
        (["rollout.gpus_per_worker=0.5", "learner.gpus_per_rank=0.5"], "rollout.gpus_per_worker: .* to 1 both"),
        (["learner.weights_transport=collective"], "learner.weights_transport: .* auto"),
    ],
)
def test_what_turns_on_shared_devices_contradict_is_refused_with_a_way_out(
    recipe: Path, settings: list[str], message: str
) -> None:
    load_config(recipe, settings)
    with pytest.raises(ConfigError, match=f"{message}.*, or set rollout.placement: separate"):
        load_config(recipe, [*settings, "rollout.placement=shared"])


def test_turns_on_shared_devices_are_taken_by_ranks_and_multiples_of_them(recipe: Path) -> None:
    settings = ["learner.ranks=2", "rollout.workers=4", "rollout.gpus_per_worker=1", "learner.gpus_per_rank=1"]
    assert load_config(recipe, [*settings, "rollout.placement=shared"]).takes_turns
    assert not load_config(recipe, settings).takes_turns


@pytest.mark.parametrize(
    "settings",
    [
        *([f"decoder={decoder}"] for decoder in DECODERS),
        ["decoder=entropy", "upstream=true", "block_length=256"],
        ["decoder=low_confidence", "upstream=true", "block_length=32", "decoder_temperature=0.5"],
        ["decoder=threshold", "approximate_cache=dual", "block_length=32", "threshold=0.8"],
        ["backend={kind: vllm, tensor_parallel_size: 2}", "gpus_per_worker=2"],
        ["backend={kind: vllm, tensor_parallel_size: 2}", "gpus_per_worker=0"],
        ["backend={kind: vllm, gpu_memory_utilization: 0.4}", "gpus_per_worker=0.5"],
        ["batch_tokens=768"],
    ],
)
def test_rollout_settings_that_agree_are_taken(recipe: Path, settings: list[str]) -> None:
    load_config(recipe, [f"rollout.{setting}" for setting in settings])


@pytest.mark.parametrize(
    ("settings", "between"),
    [
        ([], "batches"),
        (["admission.max_staleness=1"], "steps"),
        (["admission.max_staleness=1", "rollout.update_between=batches"], "batches"),
        (["rollout.update_between=steps"], "steps"),
    ],
)
def test_weights_are_taken_between_steps_where_rollouts_overlap_with_training(
    recipe: Path, settings: list[str], between: str
) -> None:
    assert load_config(recipe, settings).takes_weights_between == between


def test_the_sampler_carries_every_setting_over(recipe: Path) -> None:
    settings = {
        "decoder": "low_confidence",
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": 5,
        "decoder_temperature": 0.3,
        "denoising_steps": 16,
        "completion_length": 64,
        "block_length": 16,
        "threshold": 0.6,
        "upstream": True,
        "approximate_cache": "dual",
        "approximate_measured_share": 0.25,
    }
    # Locking does not go with a cache.
    assert settings.keys() == Sampler.model_fields.keys() - {"approximate_locking"}
    default = load_config(recipe).rollout.sampler()
    assert all(getattr(default, name) != value for name, value in settings.items())
    config = load_config(recipe, [f"rollout.{name}={value}" for name, value in settings.items()])
    assert config.rollout.sampler().model_dump() == settings | {"approximate_locking": 0.0}
    locking = load_config(recipe, ["rollout.approximate_locking=0.01"])
    assert locking.rollout.sampler().approximate_locking == 0.01


@pytest.mark.parametrize("override", ["learner.ranks", "=1", "learner.ranks=[1", "learner.ranks.deep=1"])
def test_malformed_override_is_quoted(recipe: Path, override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(recipe, ["learner.ranks=1", override])
    assert repr(override) in str(caught.value)


@pytest.mark.parametrize("text", ["1e-6", "1.0e-6", "0.000001", "1E-6"])
def test_scientific_notation_is_a_number_in_overrides_and_recipes(recipe: Path, text: str) -> None:
    assert load_config(recipe, [f"learner.optimizer.learning_rate={text}"]).learner.optimizer.learning_rate == 1e-6
    recipe.write_text(recipe.read_text() + f"learner:\n  optimizer: {{learning_rate: {text}}}\n")
    assert load_config(recipe).learner.optimizer.learning_rate == 1e-6


def test_override_keeps_the_rest_of_its_section(recipe: Path) -> None:
    config = load_config(recipe, ["rollout.temperature=0.5", "rollout.top_p=0.9"])
    assert (config.rollout.temperature, config.rollout.top_p, config.rollout.group_size) == (0.5, 0.9, 8)
    assert config.rollout.sampler().temperature == 0.5


VLLM_OF_TWO = {"kind": "vllm", "tensor_parallel_size": 2, "dtype": "float32"}


@pytest.mark.parametrize(
    ("stated", "overrides", "backend"),
    [
        (None, [], TorchBackendConfig()),
        (None, ["=vllm"], VllmBackendConfig()),
        (None, ["=vllm", ".tensor_parallel_size=2"], VllmBackendConfig(tensor_parallel_size=2)),
        (
            None,
            ["=vllm", ".tensor_parallel_size=2", ".enforce_eager=false"],
            VllmBackendConfig(tensor_parallel_size=2, enforce_eager=False),
        ),
        (None, [".kind=vllm", ".dtype=float32"], VllmBackendConfig(dtype="float32")),
        ("vllm", [".tensor_parallel_size=2"], VllmBackendConfig(tensor_parallel_size=2)),
        (VLLM_OF_TWO, [], VllmBackendConfig(tensor_parallel_size=2, dtype="float32")),
        (VLLM_OF_TWO, [".dtype=null"], VllmBackendConfig(tensor_parallel_size=2)),
        (VLLM_OF_TWO, ["=torch"], TorchBackendConfig()),
        (VLLM_OF_TWO, [".kind=torch"], TorchBackendConfig()),
        (VLLM_OF_TWO, ["=vllm"], VllmBackendConfig()),
        ("torch", ["=vllm", ".gpu_memory_utilization=0.5"], VllmBackendConfig(gpu_memory_utilization=0.5)),
    ],
)
def test_overrides_choose_the_backend_and_its_options_in_any_order(
    recipe: Path, stated: Any, overrides: list[str], backend: Section
) -> None:
    rollout = {} if stated is None else {"rollout": {"backend": stated}}
    recipe.write_text(yaml.safe_dump(MINIMAL | rollout))
    for order in permutations(overrides):
        found = load_config(recipe, [f"rollout.backend{override}" for override in order])
        assert found.rollout.backend == backend


def test_the_kind_of_an_estimator_may_be_said_after_its_options(recipe: Path) -> None:
    overrides = ["learner.estimator.merged_steps=4", "learner.estimator=trace"]
    assert load_config(recipe, overrides) == load_config(recipe, overrides[::-1])


def test_scoring_elsewhere_needs_an_address_too(recipe: Path) -> None:
    elsewhere = ["reward.workers=0", "run.id=x"]
    with pytest.raises(ConfigError, match=r"streams\.url: reward.workers: 0 leaves scoring"):
        load_config(recipe, elsewhere)
    assert load_config(recipe, [*elsewhere, "streams.url=redis://redis:6379/0"]).reward.workers == 0


def test_an_address_in_the_environment_is_read_when_it_is_used_and_never_written(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(recipe, ["streams.url=env:COUPLET_TEST_URL"])
    with pytest.raises(ConfigError, match=r"streams.url env:COUPLET_TEST_URL: .* is not set here; set it"):
        _ = config.streams.address
    monkeypatch.setenv("COUPLET_TEST_URL", "redis://:secret@host:6379/0")
    assert config.streams.address == "redis://:secret@host:6379/0"
    assert config.streams.in_environment
    assert "env:COUPLET_TEST_URL" in dump_config(config)
    assert "secret" not in dump_config(config)
    assert load_config(recipe).streams.address == "embedded"
    assert not load_config(recipe).streams.in_environment


def test_config_is_frozen(recipe: Path) -> None:
    config = load_config(recipe)
    with pytest.raises(ValueError, match="frozen"):
        config.learner.ranks = 2  # type: ignore[misc]


@pytest.mark.parametrize("text", ["- a\n", "just text", "a: [1\n", ""])
def test_file_that_is_not_a_recipe(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load_config(path)


def test_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "absent.yaml")


def test_every_setting_has_a_description() -> None:
    def undocumented(section: type[Section], path: str) -> list[str]:
        found = []
        for name, field in section.model_fields.items():
            if not field.description and name != "kind" and not isinstance(field.default, Section) and path:
                found.append(path + name)
            for kind, inner in sections_in(field.annotation).items():
                found += undocumented(inner, f"{path}{name}.{kind}.")
        return found

    assert undocumented(Config, "") == []
    assert undocumented(StageConfig, "") == []


def test_wire_and_config_modules_do_not_import_torch() -> None:
    code = (
        "import sys, common.config, common.records, common.streams, common.telemetry, common.rng, common.ar_ness, "
        "common.metrics.registry;"
        "print([m for m in ('torch', 'transformers', 'ray') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
