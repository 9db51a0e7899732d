"""All computation of networks in float64, in this process or in the command `magical-hub`.

For tests which state that two computations are the same: what is left between them in float64 is ten orders of
magnitude below any mistake, whatever order the kernels of a CPU take their sums in.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils._pytree import tree_map_only


def in_double(_: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs of a module; floating-point tensors among them become float64."""
    return tree_map_only(torch.Tensor, lambda x: x.double() if x.is_floating_point() else x, inputs)


@contextmanager
def float64() -> Iterator[None]:
    """Within it (it decorates a test, too), networks are built and computed in float64."""
    to_float = torch.Tensor.float
    hook = register_module_forward_pre_hook(in_double)  # images and latents, which are drawn in float32
    torch.set_default_dtype(torch.float64)  # all weights
    torch.Tensor.float = torch.Tensor.double  # where the program wants full precision
    try:
        yield
    finally:
        torch.Tensor.float = to_float
        torch.set_default_dtype(torch.float32)
        hook.remove()


if __name__ == "__main__":
    from magical_hub.cli import main

    # Of several commands, joined by "--then", the last one's exit code counts.
    *before, last = [[*group] for joint, group in groupby(sys.argv[1:], "--then".__eq__) if not joint]
    with float64():
        for sys.argv[1:] in before:
            with suppress(SystemExit):
                main()
        sys.argv[1:] = last
        main()
