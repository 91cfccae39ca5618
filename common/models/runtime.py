"""The device and the threads with which a process runs the model."""

from __future__ import annotations

import os

import torch

from common.config import ModelSection
from common.models.families import ModelError


def configure(section: ModelSection) -> torch.device:
    """Set the thread count of this process and pick its device.

    Ray pins a worker's OpenMP to one thread unless it was given cores, so the default is set here: all of them.
    Raises ModelError for a GPU that torch does not see.
    """
    if section.device == "cuda" and not torch.cuda.is_available():
        raise ModelError("model.device cuda: torch sees no GPU here; set it to auto or cpu")
    torch.set_num_threads(section.threads or len(os.sched_getaffinity(0)))
    cuda = section.device == "cuda" or (section.device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if cuda else "cpu")


def compute_dtype(section: ModelSection) -> torch.dtype:
    return torch.bfloat16 if section.dtype == "bfloat16" else torch.float32
