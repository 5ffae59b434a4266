"""One streaming pass over calibration photos: what values each tensor of the reference graph takes.

The statistics are exact counts, sums of whole steps and extremes, so they do not depend on the order of the photos, and
their memory does not depend on the number of photos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from xedge.graph.evaluate import Evaluator
from xedge.graph.ir import Graph, Softmax
from xedge.quantization.energy import consumer_energy
from xedge.quantization.products import Products, products_of_readers
from xedge.quantization.statistics import BINS, CHANNEL_BINS, COARSE, TensorStatistics, tensor_bins
from xedge.types import FloatArray

# More values of one tensor of one photo than this tell nothing new; they are thinned by a fixed stride over pixels.
VALUES_PER_PHOTO = 64_000
MEAN_STEPS = 1 << 20
# From so many photos on, clipping the one that is most extreme in a channel costs less than the range that it takes.
MANY_PHOTOS = 50


class _Accumulator:
    """The running statistics of one tensor."""

    def __init__(self, energy: npt.NDArray[np.int64], products: list[Products]) -> None:
        self.energy, self._weights = energy, energy.astype(np.float64)
        self.counts = np.zeros(BINS, np.int64)
        self.channels = np.zeros((len(energy), CHANNEL_BINS), np.int32)
        self.products = products
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
        places = COARSE[bins] + np.arange(len(rows), dtype=np.int32)[:, None] * CHANNEL_BINS
        counted = np.bincount(places.reshape(-1), minlength=self.channels.size)
        self.channels += counted.reshape(self.channels.shape).astype(np.int32)
        for products in self.products:
            products.add(tensor)
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
            covariances={products.reader: products.covariance() for products in self.products},
        )


def calibrate(
    graph: Graph,
    photos: Iterable[FloatArray],
    progress: Callable[[int], None] = lambda done: None,
    *,
    products: bool = True,
) -> Mapping[str, TensorStatistics]:
    """Return the statistics of every tensor that quantization may touch.

    Args:
        graph: the reference graph.
        photos: preprocessed photos (H, W, C) float32.
        progress: called with the number of photos done.
        products: also how the inputs of convolutions vary together, which takes half of the time.
    """
    names = tuple(node.name for node in graph if not isinstance(node, Softmax))
    evaluator = Evaluator(graph, names)
    running = {
        name: _Accumulator(consumer_energy(graph, name), products_of_readers(graph, name) if products else [])
        for name in names
    }
    for done, tensors in enumerate(_ahead(evaluator, photos), start=1):
        for name in names:  # each is let go of while the next photo's are being made; the first are the largest
            running[name].add(tensors.pop(name)[0])
        progress(done)
    return {name: running.pop(name).result() for name in names}


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
