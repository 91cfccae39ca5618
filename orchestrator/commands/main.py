"""The ``couplet`` command: its sub-commands and where they are. Each is imported when it is used."""

from __future__ import annotations

import click

from orchestrator.commands.exits import CommandLine
from orchestrator.commands.lazy import LazyGroup

_HERE = "orchestrator.commands"


@click.group(
    cls=CommandLine,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    lazy={
        "adapt": (f"{_HERE}.stages:adapt", "Turn an autoregressive model into a masked-diffusion one."),
        "analyze": ("orchestrator.commands.main:analyze", "Measure properties of the method and of models."),
        "bench": ("benchmarks.command:bench", "Measure parts of the project on this machine."),
        "chaos": (f"{_HERE}.chaos:chaos", "Strike a run with faults at random moments, and audit what it leaves."),
        "data": (f"{_HERE}.main:data", "Inspect task files, check them and select from them."),
        "doctor": (
            f"{_HERE}.doctor.command:doctor",
            "Check whether this machine is ready for a run.",
        ),
        "evaluate": (
            f"{_HERE}.evaluate.command:evaluate",
            "Evaluate a model on task files: pass@k, decoding order and cost.",
        ),
        "export": (f"{_HERE}.export:export", "Write a checkpoint's weights as a model."),
        "generate": (f"{_HERE}.generate:generate", "Complete a prompt, and show the order of decoding."),
        "plan": (f"{_HERE}.planning:plan", "Forecast how fast a run will be, without starting it."),
        "plugins": (f"{_HERE}.plugins:plugins", "List the parts that recipes can name."),
        "pretrain": (f"{_HERE}.stages:pretrain", "Train a masked-diffusion model on documents."),
        "quickstart": (f"{_HERE}.quickstart:quickstart", "Train on this machine's CPU, in minutes."),
        "report": (f"{_HERE}.report:report", "Write the HTML report of a run, or compare several runs."),
        "reproduce": (
            f"{_HERE}.reproduce:reproduce",
            "Test the papers' claims on models that train here, over several seeds.",
        ),
        "sandbox": (f"{_HERE}.sandbox:sandbox", "Run untrusted programs in isolation."),
        "score": (f"{_HERE}.score.command:score", "Score completions in files by their tasks' tests."),
        "serve-rewards": (f"{_HERE}.serve_rewards:serve_rewards", "Score completions over HTTP."),
        "sft": (f"{_HERE}.stages:sft", "Fine-tune a masked-diffusion model on prompts and their answers."),
        "train": (f"{_HERE}.train:train", "Train from a recipe."),
        "warm-up": (f"{_HERE}.warm_up:warm_up", "Train the quick start's weak starting model from nothing."),
    },
)
@click.version_option(package_name="couplet-rl")
def main() -> None:
    """Reinforcement learning for masked-diffusion code models."""


analyze = LazyGroup(
    name="analyze",
    help="Measure properties of the method and of models.\n\n`couplet analyze FOLDER` is `couplet analyze "
    "evaluation FOLDER`; `couplet analyze evaluation --help` lists its options.",
    default="evaluation",
    lazy={
        "evaluation": (
            f"{_HERE}.analyze:evaluation",
            "Analyze what `couplet evaluate` left, of one model or two.",
        ),
        "variance": (f"{_HERE}.variance:variance", "Measure how far likelihood estimates scatter."),
    },
)

data = LazyGroup(
    name="data",
    help="Inspect task files, check them and select from them.",
    lazy={
        "acecode": (f"{_HERE}.data.acecode:acecode", "Select a split of AceCode by difficulty."),
        "check": (f"{_HERE}.data.check:check", "Check that tests accept their solutions, and nothing else."),
        "show": (f"{_HERE}.data.show:show", "Show what the loader makes of a task file."),
        "tiny-chain": (
            f"{_HERE}.data.tiny_chain:tiny_chain",
            "Make a small causal model and examples for the recipes of the tiny chain.",
        ),
    },
)

if __name__ == "__main__":
    main()
