"""What quantization decided: which tensors and weights are integers, with which parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from xedge.quantization.affine import Affine, QuantizedKernel
from xedge.types import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """An int8 version of a reference graph; the graph itself is not changed.

    Args:
        activations: tensor name to parameters, for every tensor that exists as integers.
        kernels: node name to integer kernel, for every weighted node that computes in integers.
        float_nodes: nodes that compute in float.
        result_scales: for nodes that only float nodes read, (channels,): the integers hold result / result_scales,
            and the reader multiplies; a target whose kernels give float results need not round there at all.
        input_shift: the integer input holds photo + shift, and the first kernels' biases take it back.
    """

    activations: Mapping[str, Affine]
    kernels: Mapping[str, QuantizedKernel]
    float_nodes: frozenset[str]
    result_scales: Mapping[str, FloatArray] = field(default_factory=dict)
    input_shift: float = 0.0

    def stored_kernel(self, name: str) -> QuantizedKernel:
        """Return a node's kernel as it has to be stored to give its integers."""
        kernel, scales = self.kernels[name], self.result_scales.get(name)
        if scales is None:
            return kernel
        return replace(kernel, scales=kernel.scales / scales, bias=kernel.bias / scales)

    def is_integer(self, name: str) -> bool:
        """Whether a node computes in integers."""
        return name not in self.float_nodes
