"""Weights of 4 bits for activations in float: groups of inputs with own scales, adaptive rounding, bias correction.

Large kernels have 4 bits. The smallest ones, which are in most networks the first and hurt most, have 8 bits at next to
no size, and depthwise kernels stay in float. A runtime that multiplies weights as they are stored rounds what they are
multiplied with: there the layers that would lose most by that, those of the photo, stay in float too. Such a runtime
has 4 bits for kernels of one position only, so that large kernels of several positions have 8 bits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from xedge.graph.ir import Conv, Dense, Graph
from xedge.quantization import adaptive_rounding
from xedge.quantization.affine import SMALLEST_SCALE, WEIGHT_LIMIT, GroupedKernel, of_inputs
from xedge.quantization.bias_correction import corrected_bias
from xedge.quantization.front import front
from xedge.quantization.plan import Plan
from xedge.quantization.rules import Rules
from xedge.quantization.statistics import Statistics
from xedge.quantization.weight_clipping import OF_FEW_STEPS, clipped_scales
from xedge.types import FloatArray, Int8Array

FOUR_BITS, EIGHT_BITS = (-8, 7), (-WEIGHT_LIMIT, WEIGHT_LIMIT)
# The smallest kernels have 8 bits, as long as they hold no more than this share of the weights. The total variation of
# the compact default is 4.2 % with it and 5.9 % without, and the file of the full-size Xception grows by 3 %.
SHARE_IN_EIGHT_BITS = 0.05
# The most weights of a filter that share a scale, which in half precision adds a sixth of a bit to each of them. For
# the full-size Xception on 341 validation photos, 128 give a total variation of 3.4 % and 64 one of 2.9 %, but with 64
# the files for OpenVINO take more than 12 MB.
GROUP = 96
# The most inputs of a block. With 128, the full-size Xception takes 11.9 MB on TFLite and with 96 it takes 12.1; the
# total variation on 100 test photos is 3.2 % and 3.3 %.
LARGEST_BLOCK = 128
# The bits that a scale takes.
SCALE_BITS = 16


def small_weights(graph: Graph, statistics: Statistics, rules: Rules | None = None) -> Plan:
    """Return the plan of a graph that computes in float and whose weights take 4 bits or little more.

    Args:
        graph: The graph.
        statistics: The statistics that ``calibrate`` collected.
        rules: The rules of the target; None has no special rules.
    """
    blocks = None if rules is None else rules.blocks
    found = [node for node in graph if isinstance(node, Conv | Dense)]
    if blocks is not None:
        of_photo = front(graph) | {node.name for node in graph.consumers(graph.input.name)}
        found = [node for node in found if node.name not in of_photo]
    eight = _in_eight_bits(found)
    kernels = {}
    for node in found:
        seen = statistics[node.inputs[0]]
        covariance = seen.covariances[node.name].astype(np.float64) if node.name in seen.covariances else None
        size = None if node.name in eight else group_size(node, blocks)
        kernel = _eight_bits(node, covariance) if size is None else _four_bits(node, covariance, size)
        if blocks is not None and kernel.bits == 4 and kernel.scales.dtype != np.float16:
            kernel = _eight_bits(node, covariance)  # scales of blocks are in half precision
        kernels[node.name] = replace(kernel, bias=corrected_bias(node, kernel, seen.mean).astype(np.float32))
    return Plan(activations={}, kernels={}, float_nodes=frozenset(node.name for node in graph), weights=kernels)


def _in_eight_bits(nodes: list[Conv | Dense]) -> set[str]:
    """Return the names of the nodes with the smallest kernels, and of those with an odd number of weights."""
    total, held = sum(node.kernel.size for node in nodes), 0
    names = {node.name for node in nodes if node.kernel.size % 2}
    for node in sorted(nodes, key=lambda one: one.kernel.size):
        held += node.kernel.size
        if held > SHARE_IN_EIGHT_BITS * total:
            break
        names.add(node.name)
    return names


def _eight_bits(node: Conv | Dense, covariance: npt.NDArray[np.float64] | None) -> GroupedKernel:
    """Round a kernel to 8 bits with one scale for each output."""
    rows = node.kernel.reshape(-1, node.kernel.shape[-1])
    scales = _stored(_of_used(np.abs(rows).max(axis=0)[None] / WEIGHT_LIMIT))
    size = node.kernel.shape[-2]
    values = _rounded(node.kernel, scales, size, covariance, EIGHT_BITS)
    return GroupedKernel(values=values, scales=scales, size=size, bits=8, bias=node.bias)


def _four_bits(node: Conv | Dense, covariance: npt.NDArray[np.float64] | None, size: int) -> GroupedKernel:
    """Round a kernel to 4 bits with a scale for each group of inputs, which loses least at the output."""
    *window, inputs, outputs = node.kernel.shape
    variances = np.ones(node.kernel.shape[:-1]) if covariance is None else np.diag(covariance).reshape(*window, inputs)
    scales = []
    for start in range(0, inputs, size):
        part = node.kernel[..., start : start + size, :].reshape(-1, outputs)
        variance = variances[..., start : start + size].reshape(-1)
        largest = _of_used(np.abs(part).max(axis=0) / FOUR_BITS[1])
        scales.append(clipped_scales(part, largest, variance, limits=FOUR_BITS, candidates=OF_FEW_STEPS))
    stored = _stored(np.stack(scales))
    values = _rounded(node.kernel, stored, size, covariance, FOUR_BITS)
    return GroupedKernel(values=values, scales=stored, size=size, bits=4, bias=node.bias)


def group_size(node: Conv | Dense, blocks: int | None = None) -> int | None:
    """Return the number of inputs of a kernel that share a scale, or None if 8 bits are the way to store it.

    Without blocks this is the largest divisor of the inputs with at most ``GROUP`` weights, or 1. With blocks, it is
    the multiple of them that takes least to store; the inputs are filled up to full groups, and 8 bits may take less.

    Args:
        node: The node of the kernel.
        blocks: The number of which the groups are multiples, as ``Rules`` says.
    """
    *window, inputs, _ = node.kernel.shape
    if blocks is None:
        most = max(1, GROUP // int(np.prod(window)))
        return max(size for size in range(1, most + 1) if inputs % size == 0)
    if isinstance(node, Conv) and not node.is_pointwise:
        return None
    sizes = range(blocks, LARGEST_BLOCK + 1, blocks)
    bits, size = min((-(-inputs // size) * (4 * size + SCALE_BITS), size) for size in sizes)
    return size if bits < 8 * inputs else None


def _of_used(scales: FloatArray) -> FloatArray:
    """Return scales in which 1 takes the place of 0, which stands where all weights are zero."""
    return np.asarray(np.where(scales > 0, np.maximum(scales, SMALLEST_SCALE), 1.0), np.float32)


def _stored(scales: FloatArray) -> npt.NDArray[np.float16] | FloatArray:
    """Return scales in half precision if it holds all of them with its full resolution."""
    half = np.finfo(np.float16)
    fits = scales.min() >= half.smallest_normal and scales.max() <= half.max
    return scales.astype(np.float16) if fits else scales


def _rounded(
    kernel: FloatArray,
    scales: npt.NDArray[np.float16] | FloatArray,
    size: int,
    covariance: npt.NDArray[np.float64] | None,
    limits: tuple[int, int],
) -> Int8Array:
    """Return the integers of a kernel, adaptively rounded if the covariance of its inputs is known."""
    *window, inputs, outputs = kernel.shape
    steps = of_inputs(scales, size, inputs)
    if covariance is None:
        return np.asarray(np.clip(np.rint(kernel / steps), *limits), np.int8)
    rows = np.broadcast_to(steps, (*window, inputs, outputs)).reshape(-1, outputs)
    return adaptive_rounding.rounded(kernel, rows, covariance, 0.0, limits=limits)
