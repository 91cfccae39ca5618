"""torch's compiler, which takes seconds to import, kept out of ranks that compile nothing."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

import torch
from torch.optim import Adam, Optimizer

_Function = TypeVar("_Function", bound=Callable[..., Any])
_COMPILER = "torch._dynamo"
_MUON = "deepspeed.runtime.zero.muon.muon_optimizer"


def spare_compiler() -> None:
    """Keep optimizers and DeepSpeed from importing torch's compiler; does nothing where it is imported.

    torch imports it to exclude methods of an optimizer from compilation, and in every step, for the case that it
    is being compiled. DeepSpeed imports it to compile what Muon computes, an optimizer that the learner does not
    have. Call it before the first optimizer of the process is made.
    """
    if _COMPILER in sys.modules:
        return
    for method in vars(Optimizer).values():
        code = getattr(method, "__code__", None)
        if code is not None and code.co_filename == torch._compile.__file__:
            # Where torch keeps what it has made of the method for its next call.
            setattr(method.__wrapped__, "__dynamo_disable", method.__wrapped__)
    # Without the wrapper that differentiates through steps, if asked to, and else excludes them from gradients.
    Adam.step = torch.no_grad()(inspect.unwrap(Adam.step))  # type: ignore[method-assign]
    if _MUON not in sys.modules:
        _import_uncompiled(_MUON)


def _import_uncompiled(module: str) -> None:
    """Import a module of DeepSpeed whose functions are compiled where they are defined, without compiling them."""
    from deepspeed.runtime import compiler

    def leave(*_: Any, **__: Any) -> Callable[[_Function], _Function]:
        return lambda function: function

    compile_function = compiler.compile
    compiler.compile = leave
    try:
        import_module(module)
    finally:
        compiler.compile = compile_function
