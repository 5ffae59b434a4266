"""Take of every tensor of a photo what calibration counts, inside the session that computes them.

Whole tensors of a large network are two hundred megabytes for each photo. Their extremes, a subset of their values, and
the patches that a few outputs of convolutions read are a sixth of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xedge.graph.evaluate import FloatSession, channels_second, nchw
from xedge.graph.ir import Graph
from xedge.graph.onnx import SharingWriter, shared_model
from xedge.graph.writing import expanded
from xedge.quantization.products import Products
from xedge.types import FloatArray

# More values than this from one tensor of one photo add no information. They are subsampled with a fixed stride over
# the pixels.
VALUES_PER_PHOTO = 64_000
# A tensor with so many dimensions has height, width and channels.
SPATIAL = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """What is taken of one tensor of one photo.

    Args:
        least: The lowest value of each channel (channels,).
        most: The highest value of each channel (channels,).
        rows: The subsampled values of each channel (channels, values).
        patches: The patches (inputs, positions) for each of the tensor's products.
    """

    least: FloatArray
    most: FloatArray
    rows: FloatArray
    patches: Sequence[FloatArray]


class Sampler:
    """The reference graph, ready to return samples of its tensors; threads may use it at the same time.

    Args:
        graph: The graph to run.
        products: The products for which patches are taken, by the names of the tensors to sample; a tensor that no
            product reads has an empty list.
    """

    def __init__(self, graph: Graph, products: Mapping[str, Sequence[Products]]) -> None:
        written = expanded("onnx", graph)
        writer = _SamplingWriter(written, products)
        model, weights = shared_model(written, writer=writer)
        self._parts = writer.parts
        self._session = FloatSession(model, weights, graph.input.name, at_once=True)

    def samples(self, photo: FloatArray) -> dict[str, Sample]:
        """Return the samples of all tensors by name for a preprocessed photo (H, W, C)."""
        wanted = [part for parts in self._parts.values() for part in parts]
        values = iter(self._session.run(wanted, nchw(photo[None])))
        return {name: _sample([next(values) for _ in parts]) for name, parts in self._parts.items()}


class _SamplingWriter(SharingWriter):
    """A writer whose model returns samples of tensors instead of the graph's output.

    The attribute ``parts`` holds the names of the ONNX tensors that make up the sample of each tensor. A tensor without
    height and width is returned whole, as its only part.
    """

    def __init__(self, graph: Graph, products: Mapping[str, Sequence[Products]]) -> None:
        super().__init__(graph)
        self._products = products
        self.parts: dict[str, list[str]] = {}

    def model(self, outputs: Iterable[str]) -> Any:
        # ONNX Runtime goes from the last node without readers to the first one. In this order it takes the samples of a
        # tensor as soon as it has computed it, and keeps no tensor until the end.
        for name in reversed(list(self._products)):
            products = self._products[name]
            spatial = len(self.graph.shape(name)) == SPATIAL
            self.parts[name] = self._sample(name, products) if spatial else [self._copy(name)]
        return super().model(part for parts in self.parts.values() for part in parts)

    def _copy(self, name: str) -> str:
        return self.emit("Identity", [name], f"{name}#sample_whole")

    def _sample(self, name: str, products: Sequence[Products]) -> list[str]:
        axes = {"axes": [2, 3], "keepdims": 0}
        least = self.emit("ReduceMin", [name], f"{name}#sample_least", **axes)
        most = self.emit("ReduceMax", [name], f"{name}#sample_most", **axes)
        height, width, channels = self.graph.shape(name)
        pixels = height * width
        stride = max(1, pixels * channels // VALUES_PER_PHOTO)
        operands = {"starts": 0, "ends": pixels, "axes": 1, "steps": stride}
        bounds = [self._numbers(f"{name}#sample_{part}", [value]) for part, value in operands.items()]
        flat = self._flat(name, channels)
        rows = self.emit("Slice", [flat, *bounds], f"{name}#sample_rows")
        return [least, most, rows, *(self._patches(name, flat, one) for one in products)]

    def _patches(self, name: str, flat: str, products: Products) -> str:
        """Add the patches (channels, taps, positions) that a convolution reads."""
        _, width, channels = self.graph.shape(name)
        (top, bottom), (left, right) = products.padding
        if any((top, bottom, left, right)):
            pads = self._numbers(f"{products.reader}#sample_pads", [0, 0, top, left, 0, 0, bottom, right])
            flat = self._flat(self.emit("Pad", [name, pads], f"{products.reader}#sample_padded"), channels)
        places = self.parameter(f"{products.reader}#sample_places", products.places(left + width + right))
        return self.emit("Gather", [flat, places], f"{products.reader}#sample_patches", axis=1)

    def _flat(self, tensor: str, channels: int) -> str:
        """Add a tensor (1, channels, height, width) as (channels, pixels)."""
        return self.emit(
            "Reshape", [tensor, self._numbers(f"{tensor}#sample_pixels", [channels, -1])], f"{tensor}#sample_flat"
        )

    def _numbers(self, name: str, values: list[int]) -> str:
        return self.parameter(name, np.array(values, np.int64))


def _sample(parts: list[FloatArray]) -> Sample:
    if len(parts) == 1:
        (whole,) = parts
        rows = channels_second(whole)[0]
        rows = rows.reshape(len(rows), -1)
        stride = max(1, rows.size // VALUES_PER_PHOTO)
        # The rows are copied, because a photo that is held back must not keep its whole tensor in memory.
        kept = np.array(rows[:, ::stride], order="C")
        return Sample(least=rows.min(1), most=rows.max(1), rows=kept, patches=())
    least, most, rows, *patches = parts
    taps_first = [one.transpose(1, 0, 2).reshape(-1, one.shape[-1]) for one in patches]
    return Sample(least=least[0], most=most[0], rows=rows, patches=taps_first)
