"""One streaming pass over calibration photos: what values each tensor of the reference graph takes.

The statistics are exact counts and extremes, so they do not depend on the order of the photos, and their memory
does not depend on the number of photos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xedge.graph.evaluate import Evaluator
from xedge.graph.ir import Activation, Conv, Dense, Depthwise, Graph, Mean, Node, Pad, Pool, Softmax, Weighted
from xedge.types import FloatArray

# A float32's sign, exponent and first five bits of mantissa name its bin: 3 % wide, anywhere on the real line.
_SHIFT = 23 - 5
BINS = 1 << (32 - _SHIFT)
# More values of one tensor of one photo than this tell nothing new; they are thinned by a fixed stride over pixels.
VALUES_PER_PHOTO = 64_000
ENERGY_STEPS = 1 << 16
MEAN_STEPS = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorStatistics:
    """What was seen of one tensor.

    Args:
        counts: (BINS,) energy-weighted number of values in each bin, in whole steps.
        low, high: the extremes.
        mean: (channels,) average of each channel.
    """

    counts: npt.NDArray[np.int64]
    low: float
    high: float
    mean: npt.NDArray[np.float64]

    def histogram(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the bins that hold something: their centres, ascending, and their weights."""
        used = np.flatnonzero(self.counts)
        centres = BIN_CENTRES[used]
        order = np.argsort(centres)
        return np.clip(centres[order], self.low, self.high), self.counts[used][order].astype(np.float64)


def _bin_centres() -> npt.NDArray[np.float64]:
    middle = np.uint32(1 << (_SHIFT - 1))
    bits = (np.arange(BINS, dtype=np.uint32) << np.uint32(_SHIFT)) | middle
    with np.errstate(invalid="ignore"):  # the bins of infinities and NaN
        return np.asarray(bits.view(np.float32), dtype=np.float64)


BIN_CENTRES = _bin_centres()


class _Accumulator:
    """The running statistics of one tensor."""

    def __init__(self, energy: npt.NDArray[np.int64]) -> None:
        self.energy, self._weights = energy, energy.astype(np.float64)
        self.counts = np.zeros(BINS, np.int64)
        self.low, self.high = np.inf, -np.inf
        # Sums of float64 depend on order; whole numbers of this fine a step do not.
        self.sums = np.zeros(len(energy), np.int64)
        self.values = 0

    def add(self, tensor: FloatArray) -> None:
        """Count one photo's tensor, (C, H, W) or (C,)."""
        rows = tensor.reshape(len(tensor), -1)
        self.low, self.high = min(self.low, float(rows.min())), max(self.high, float(rows.max()))
        stride = max(1, rows.size // VALUES_PER_PHOTO)
        rows = np.ascontiguousarray(rows[:, ::stride])
        bins = rows.view(np.uint32) >> np.uint32(_SHIFT)
        if (self.energy == self.energy[0]).all():
            self.counts += np.bincount(bins.reshape(-1), minlength=BINS) * self.energy[0]
        else:
            weights = np.repeat(self._weights, rows.shape[1])
            self.counts += np.bincount(bins.reshape(-1), weights, minlength=BINS).astype(np.int64)
        self.sums += np.rint(rows.sum(1, dtype=np.float64) * MEAN_STEPS).astype(np.int64)
        self.values += rows.shape[1]

    def result(self) -> TensorStatistics:
        """Return what was seen."""
        mean = self.sums / (MEAN_STEPS * max(1, self.values))
        return TensorStatistics(counts=self.counts, low=self.low, high=self.high, mean=mean)


def calibrate(
    graph: Graph, photos: Iterable[FloatArray], progress: Callable[[int], None] = lambda done: None
) -> Mapping[str, TensorStatistics]:
    """Return the statistics of every tensor that quantization may touch.

    Args:
        graph: the reference graph.
        photos: preprocessed photos (H, W, C) float32.
        progress: called with the number of photos done.
    """
    names = tuple(node.name for node in graph if not isinstance(node, Softmax))
    evaluator = Evaluator(graph, names)
    running = {name: _Accumulator(consumer_energy(graph, name)) for name in names}
    for done, tensors in enumerate(_ahead(evaluator, photos), start=1):
        for name, value in tensors.items():
            running[name].add(value[0])
        progress(done)
    return {name: accumulator.result() for name, accumulator in running.items()}


def _ahead(evaluator: Evaluator, photos: Iterable[FloatArray]) -> Iterator[dict[str, FloatArray]]:
    """Yield every photo's tensors; the next photo is computed while the caller looks at one."""
    with ThreadPoolExecutor(max_workers=1) as worker:
        pending = None
        for photo in photos:
            following = worker.submit(evaluator.tensors, photo[None])
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


def consumer_energy(graph: Graph, name: str) -> npt.NDArray[np.int64]:
    """Return how much noise on each channel of a tensor weighs at its readers, as whole steps (channels,).

    An error on channel c reaches output o of a reader multiplied by W_oc, so it weighs sum_o W_oc^2 there.
    """
    channels = graph.shape(name)[-1]
    energy = np.zeros(channels)
    for reader in graph.consumers(name):
        energy += _reader_energy(graph, reader, channels)
    if not energy.any():
        energy += 1.0
    # Between a hundredth and a hundred times the typical channel: dead and outlier filters must not decide alone.
    typical = float(np.median(energy[energy > 0]))
    return np.maximum(1, np.rint(np.clip(energy / typical, 0.01, 100.0) * ENERGY_STEPS / 100)).astype(np.int64)


def _reader_energy(graph: Graph, reader: Node, channels: int) -> npt.NDArray[np.float64]:
    if isinstance(reader, Activation | Pool | Pad | Mean):
        return np.asarray(consumer_energy(graph, reader.name), dtype=np.float64) / ENERGY_STEPS
    if not isinstance(reader, Weighted):
        return np.zeros(channels)
    kernel = reader.kernel.astype(np.float64)
    if isinstance(reader, Depthwise):
        own = (kernel**2).sum((0, 1)).reshape(channels, -1)
        return np.asarray(own.sum(1) * _depthwise_gain(graph, reader))
    if isinstance(reader, Conv) and reader.groups != 1:
        return np.ones(channels)
    axes = (0, 1, 3) if isinstance(reader, Conv) else (1,)
    return np.asarray((kernel**2).sum(axes)) if isinstance(reader, Conv | Dense) else np.ones(channels)


def _depthwise_gain(graph: Graph, reader: Depthwise) -> npt.NDArray[np.float64]:
    """How much the pointwise convolution behind a depthwise one amplifies each of its channels."""
    behind = graph.sole_consumer(reader.name)
    if isinstance(behind, Conv) and behind.groups == 1 and len(behind.kernel[0, 0]) == len(reader.kernel[0, 0]):
        gain = (behind.kernel.astype(np.float64) ** 2).sum((0, 1, 3))
        return np.asarray(gain.reshape(graph.shape(reader.inputs[0])[-1], -1).mean(1))
    return np.ones(graph.shape(reader.inputs[0])[-1])
