"""``couplet export``: the weights of a checkpoint as a model folder."""

from __future__ import annotations

from pathlib import Path

import click
import yaml

from common.config import Config, ConfigError, load_config, load_stage_config
from common.config.stages import StageConfig
from common.models.folder import model_folder
from learner.checkpoints import find_checkpoint, require_whole
from learner.export import export_checkpoint
from learner.stages.starting_plan import needs_starting_model
from orchestrator.stages.preparation import START


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
def export(checkpoint: Path, folder: Path) -> None:
    """Write a checkpoint's weights as a model.

    CHECKPOINT is a checkpoint, or a run's folder or its folder of checkpoints, of which the latest is taken; it
    has to lie in the run's folder, whose config.yaml names the model that the run started from. FOLDER is what the
    run would have exported then: a model.path, and a folder for transformers. Takes no GPU and no Ray.
    """
    if folder.exists():
        raise ConfigError(f"{folder}: exists already; name a folder that does not")
    found = find_checkpoint(checkpoint)
    require_whole(found)
    config = _configuration_of(found)
    export_checkpoint(found, config.learner, _starting_folder(config, found), folder)
    click.echo(f"weights of {found.name} ({config.model.path}): {folder}")


def _configuration_of(checkpoint: Path) -> Config | StageConfig:
    """Read the configuration in the folder of a checkpoint's run. Raises ConfigError."""
    file = checkpoint.parent.parent / "config.yaml"
    if not file.is_file():
        raise ConfigError(
            f"{file}: no such file: it says from which model the run of {checkpoint.name} started; put the "
            "checkpoint back into the folder of its run"
        )
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid YAML: {error}; bring back the one that the run wrote") from error
    stage = raw.get("stage") if isinstance(raw, dict) else None
    return load_config(file) if stage is None else load_stage_config(file, stage)


def _starting_folder(config: Config | StageConfig, checkpoint: Path) -> Path:
    """Return the folder of the model that the ranks loaded: of a stage, the one made for it, if one was."""
    made = checkpoint.parent.parent / START
    if isinstance(config, StageConfig):
        if made.is_dir():
            return made
        if needs_starting_model(config.model, config.stage, config.data.padding):
            raise ConfigError(
                f"{made}: no such folder: the run of {checkpoint.name} started from the model in it; bring it back"
            )
    return model_folder(config.model.path)
