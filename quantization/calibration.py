"""One streaming pass over calibration photos: what values each tensor of the reference graph takes.

The statistics are exact counts and extremes, so they do not depend on the order of the photos, and their memory
does not depend on the number of photos.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
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
# From so many photos on, clipping the one that is most extreme in a channel costs less than the range that it takes.
MANY_PHOTOS = 50


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorStatistics:
    """What was seen of one tensor.

    Args:
        counts: (BINS,) energy-weighted number of values in each bin, in whole steps.
        low, high: the extremes.
        mean: (channels,) average of each channel.
        channel_low, channel_high: (channels,) the extremes of each channel, its most extreme photo left out.
        channel_reach: (channels,) how far a channel is from zero at most; its most extreme photo is left out of many,
            and of few counts for at most twice the next one.
        channels: (channels, CHANNEL_BINS) number of values in each coarse bin, for tensors that can be equalized.
        fixed: the range, where something has decided it already.
    """

    counts: npt.NDArray[np.int64]
    low: float
    high: float
    mean: npt.NDArray[np.float64]
    channel_low: npt.NDArray[np.float64]
    channel_high: npt.NDArray[np.float64]
    channel_reach: npt.NDArray[np.float64]
    channels: npt.NDArray[np.int64] | None = None
    fixed: tuple[float, float] | None = None

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


def tensor_bins(values: FloatArray) -> npt.NDArray[np.uint32]:
    """Return the bin of each value."""
    return np.asarray(values.view(np.uint32) >> np.uint32(_SHIFT))


# Per channel, coarser: three bits of mantissa, and exponents that activations have; smaller values count as zero.
_CHANNEL_SHIFT = 23 - 3
_LEAST, _GREATEST = (127 - 14) << 3, (127 + 14) << 3
_HALF = _GREATEST - _LEAST + 1
CHANNEL_BINS = 2 * _HALF


def channel_bins(values: FloatArray) -> npt.NDArray[np.int64]:
    """Return the coarse bin of each value."""
    bits = np.ascontiguousarray(values, np.float32).view(np.int32)
    magnitude = np.clip(((bits & 0x7FFFFFFF) >> _CHANNEL_SHIFT) - _LEAST + 1, 0, _HALF - 1)
    return np.asarray(magnitude + _HALF * (bits < 0), dtype=np.int64)


def _channel_centres() -> npt.NDArray[np.float64]:
    numbers = np.arange(_LEAST - 1, _GREATEST, dtype=np.int32)
    middles = ((numbers << _CHANNEL_SHIFT) | (1 << (_CHANNEL_SHIFT - 1))).view(np.float32).astype(np.float64)
    middles[0] = 0.0
    return np.concatenate([middles, -middles])


CHANNEL_CENTRES = _channel_centres()


class _Accumulator:
    """The running statistics of one tensor; ``by_channel`` counts each channel on its own."""

    def __init__(self, energy: npt.NDArray[np.int64], *, by_channel: bool) -> None:
        self.energy, self._weights = energy, energy.astype(np.float64)
        self.counts = np.zeros(BINS, np.int64)
        self.channels = np.zeros((len(energy), CHANNEL_BINS), np.int64) if by_channel else None
        self.low, self.high = np.inf, -np.inf
        # The two most extreme photos of each channel.
        self.lows, self.highs = np.full((2, len(energy)), np.inf), np.full((2, len(energy)), -np.inf)
        # Sums of float64 depend on order; whole numbers of this fine a step do not.
        self.sums = np.zeros(len(energy), np.int64)
        self.values = 0
        self.photos = 0

    def add(self, tensor: FloatArray) -> None:
        """Count one photo's tensor, (C, H, W) or (C,)."""
        rows = tensor.reshape(len(tensor), -1)
        least, most = rows.min(1).astype(np.float64), rows.max(1).astype(np.float64)
        self.low, self.high = min(self.low, float(least.min())), max(self.high, float(most.max()))
        self.lows = np.sort(np.vstack([self.lows, least]), axis=0)[:2]
        self.highs = np.sort(np.vstack([self.highs, most]), axis=0)[1:]
        stride = max(1, rows.size // VALUES_PER_PHOTO)
        rows = np.ascontiguousarray(rows[:, ::stride])
        bins = tensor_bins(rows)
        if (self.energy == self.energy[0]).all():
            self.counts += np.bincount(bins.reshape(-1), minlength=BINS) * self.energy[0]
        else:
            weights = np.repeat(self._weights, rows.shape[1])
            self.counts += np.bincount(bins.reshape(-1), weights, minlength=BINS).astype(np.int64)
        if self.channels is not None:
            places = channel_bins(rows) + np.arange(len(rows))[:, None] * CHANNEL_BINS
            self.channels += np.bincount(places.reshape(-1), minlength=self.channels.size).reshape(self.channels.shape)
        self.sums += np.rint(rows.sum(1, dtype=np.float64) * MEAN_STEPS).astype(np.int64)
        self.values += rows.shape[1]
        self.photos += 1

    def _reach(self, first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the greatest values, with the most extreme photo left out, or tempered where photos are few."""
        if self.photos >= MANY_PHOTOS:
            return second
        return np.where(np.isfinite(second), np.minimum(first, np.maximum(2 * second, second)), first)

    def result(self) -> TensorStatistics:
        """Return what was seen."""
        return TensorStatistics(
            counts=self.counts,
            low=self.low,
            high=self.high,
            mean=self.sums / (MEAN_STEPS * max(1, self.values)),
            channel_low=np.where(np.isfinite(self.lows[1]), self.lows[1], self.lows[0]),
            channel_high=np.where(np.isfinite(self.highs[0]), self.highs[0], self.highs[1]),
            channel_reach=np.maximum(
                self._reach(self.highs[1], self.highs[0]), self._reach(-self.lows[0], -self.lows[1])
            ),
            channels=self.channels,
        )


def calibrate(
    graph: Graph,
    photos: Iterable[FloatArray],
    progress: Callable[[int], None] = lambda done: None,
    by_channel: Collection[str] = (),
) -> Mapping[str, TensorStatistics]:
    """Return the statistics of every tensor that quantization may touch.

    Args:
        graph: the reference graph.
        photos: preprocessed photos (H, W, C) float32.
        progress: called with the number of photos done.
        by_channel: tensors whose channels are also counted on their own.
    """
    names = tuple(node.name for node in graph if not isinstance(node, Softmax))
    evaluator = Evaluator(graph, names)
    running = {name: _Accumulator(consumer_energy(graph, name), by_channel=name in by_channel) for name in names}
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
