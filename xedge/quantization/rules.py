"""What a target's integer kernels ask of quantization."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How a target's int8 differs from that of others; the default asks for nothing.

    Args:
        dynamic_branches: The ranges of branches between float sums are taken from each photo as it comes, for runtimes
            where that costs little.
        symmetric: Activations have no zero points.
        pairs: Weights are kept so small that two products of a pair fit into 16 bits, for runtimes whose kernels add
            them there on some processors (``pairs.py``).
    """

    dynamic_branches: bool = False
    symmetric: bool = False
    pairs: bool = False
