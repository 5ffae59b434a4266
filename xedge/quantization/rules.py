"""The requirements that the integer kernels of a target place on quantization."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How the int8 of a target differs from that of others. By default it does not.

    Args:
        dynamic_branches: Whether branches between float sums can take their ranges from each photo at run time, because
            the runtime has kernels for it. If all ranges are fixed instead, residual sums are integers too, because
            this runtime's convolutions round their results even if a float sum reads them.
        symmetric: Whether activations have no zero points.
        pairs: Whether weights are kept so small that the sum of two products fits into 16 bits, for runtimes whose
            kernels add pairs of products in 16 bits on some processors (``pairs.py``).
        float_averages: Whether averages of windows are computed in float between integers, because the runtime's fast
            kernels for integers do not include them.
        blocks: For runtimes that multiply weights of 4 bits as they are stored: such weights have groups of this many
            inputs or of a multiple of it, and only kernels of one position have them. None is for runtimes that unpack
            the weights of any kernel and of groups of any size.
    """

    dynamic_branches: bool = False
    symmetric: bool = False
    pairs: bool = False
    float_averages: bool = False
    blocks: int | None = None
