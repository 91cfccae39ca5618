"""What :mod:`tests.forkserver` imports before it forks. No fork looks through it for garbage.

DeepSpeed collects garbage whenever it makes an engine, and goes through every object of the libraries otherwise.
"""

from __future__ import annotations

import gc
from importlib import import_module

_IMPORTED = ("torch", "deepspeed", "learner.deepspeed_policy", "learner.engine", "common.weights.loader")

gc.disable()  # what is imported stays
for _name in _IMPORTED:
    import_module(_name)
gc.freeze()
gc.enable()
