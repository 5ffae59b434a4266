"""Collect statistics of every tensor of the reference graph in a single streaming pass over the calibration photos.

The statistics are exact counts, sums of integers, and extremes. Therefore they do not depend on the order of the
photos, and the memory that they take does not depend on the number of photos.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from xedge.graph.fold import is_last_softmax
from xedge.graph.ir import Graph
from xedge.quantization.energy import consumer_energy
from xedge.quantization.products import Products, products_of_readers
from xedge.quantization.sampling import Sample, Sampler
from xedge.quantization.statistics import BINS, CHANNEL_BINS, COARSE, TensorStatistics, tensor_bins
from xedge.types import FloatArray

MEAN_STEPS = 1 << 20
# From this number of photos on, clipping the most extreme photo of a channel costs less than the range that it would
# take.
MANY_PHOTOS = 50
# With fewer photos, the range that a channel shows is too small for other photos, so it is widened by this factor. With
# 20 photos and the full-size Xception, the total variation is 2.6 % without it and 1.7 % with it, where 100 photos give
# 1.4 % (measured on 300 other photos; a factor of 1.3 is worse again, with 2.2 %).
MARGIN = 1.15
# If the photos with the most energy in a tensor have more than this many times that of the next one, they are taken for
# broken and not counted there, as long as there are no more of them than these, and than this share of the photos.
BROKEN, MOST_BROKEN, BROKEN_SHARE = 4.0, 3, 0.05
# So many photos are computed at the same time, each in one thread, while another one is counted.
AT_ONCE = 2
# The weight of the earlier photos in a moving average, as in ONNX Runtime's calibration.
MOVING = 0.99


@dataclass(frozen=True, kw_only=True, eq=False)
class _Photo:
    """What is counted for one tensor of one photo.

    Args:
        energy: The mean square of the values.
        sums: The means (channels,) of the values, in whole steps.
        bins: The bins of the values (channels, values), which take half of the memory of the values.
        patches: The patches for each of the tensor's products.
    """

    energy: float
    sums: npt.NDArray[np.int64]
    bins: npt.NDArray[np.uint16]
    patches: Sequence[FloatArray]


class _Accumulator:
    """The running statistics of one tensor.

    The photos with the most energy so far are held back until others have more, or until it turns out that they are not
    broken. In this way, which photos are left out does not depend on their order.
    """

    def __init__(self, energy: npt.NDArray[np.int64], products: Sequence[Products]) -> None:
        self.energy, self._weights = energy, energy.astype(np.float64)
        self.counts = np.zeros(BINS, np.int64)
        self.channels = np.zeros((len(energy), CHANNEL_BINS), np.int32)
        self.products = products
        self.low, self.high = np.inf, -np.inf
        self.moving = (0.0, 0.0)
        # The most extreme photos of each channel: those that may be broken, and one more.
        extremes = (MOST_BROKEN + 1, len(energy))
        self.lows, self.highs = np.full(extremes, np.inf), np.full(extremes, -np.inf)
        # Sums of float64 depend on the order of the terms; sums of whole steps do not.
        self.sums = np.zeros(len(energy), np.int64)
        self.leads = np.zeros(len(energy), np.int64)
        self.values = 0
        self.photos = 0
        self._held: list[_Photo] = []  # those with the most energy first
        self._next_energy = 0.0

    def add(self, sample: Sample) -> None:
        """Count the sample of one photo."""
        least, most, rows = sample.least.astype(np.float64), sample.most.astype(np.float64), sample.rows
        self.low, self.high = min(self.low, float(least.min())), max(self.high, float(most.max()))
        self.lows = np.sort(np.vstack([self.lows, least]), axis=0)[:-1]
        self.highs = np.sort(np.vstack([self.highs, most]), axis=0)[1:]
        self.photos += 1
        self.leads[most.argmax()] += 1
        now = float(least.min()), float(most.max())
        kept = MOVING if self.photos > 1 else 0.0
        self.moving = (kept * self.moving[0] + (1 - kept) * now[0], kept * self.moving[1] + (1 - kept) * now[1])
        sums = np.rint(rows.sum(1, dtype=np.float64) * (MEAN_STEPS / rows.shape[1])).astype(np.int64)
        energy = float(np.vdot(rows, rows)) / rows.size
        self._hold(_Photo(energy=energy, sums=sums, bins=tensor_bins(rows), patches=sample.patches))

    def _hold(self, photo: _Photo) -> None:
        """Hold back the photos with the most energy, and count the one that has less."""
        self._held = sorted([*self._held, photo], key=lambda one: -one.energy)
        if len(self._held) > MOST_BROKEN:
            less = self._held.pop()
            self._next_energy = max(self._next_energy, less.energy)
            self._count(less)

    def _count(self, photo: _Photo) -> None:
        bins = photo.bins
        if (self.energy == self.energy[0]).all():
            self.counts += np.bincount(bins.reshape(-1), minlength=BINS) * self.energy[0]
        else:
            weights = np.repeat(self._weights, bins.shape[1])
            self.counts += np.bincount(bins.reshape(-1), weights, minlength=BINS).astype(np.int64)
        places = COARSE[bins] + np.arange(len(bins), dtype=np.int32)[:, None] * CHANNEL_BINS
        counted = np.bincount(places.reshape(-1), minlength=self.channels.size)
        self.channels += counted.reshape(self.channels.shape).astype(np.int32)
        for products, patches in zip(self.products, photo.patches, strict=True):
            products.add(patches)
        self.sums += photo.sums
        self.values += 1

    def _broken(self) -> int:
        """Return how many of the photos with the most energy are broken: those before the largest step down."""
        if self.photos < 3:
            return 0
        allowed = min(MOST_BROKEN, max(1, int(BROKEN_SHARE * self.photos)))
        energies = [*(one.energy for one in self._held), self._next_energy][: allowed + 1]
        if energies[0] > BROKEN * energies[1] and not energies[1]:
            return 1
        # A tensor that is zero for all photos but a few is not one with a few broken photos.
        steps = [more / less if less else 1.0 for more, less in pairwise(energies)]
        largest = max(range(len(steps)), key=lambda place: steps[place])
        return largest + 1 if steps[largest] > BROKEN else 0

    def _extremes(self, broken: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the low and high (channels,) without the most extreme photo, or with it tempered if photos are few.

        Args:
            broken: The number of broken photos, of which all are left out.
        """
        left = max(0, broken - 1)
        low = self._most(-self.lows[left], -self.lows[left + 1])
        return -low, self._most(self.highs[-1 - left], self.highs[-2 - left])

    def _most(self, first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self.photos >= MANY_PHOTOS:
            return second
        tempered = np.where(np.isfinite(second), np.minimum(first, np.maximum(2 * second, second)), first)
        return np.where(tempered > 0, MARGIN * tempered, tempered)

    def result(self) -> TensorStatistics:
        """Return the statistics of all photos that were added."""
        broken = self._broken()
        for photo in self._held[broken:]:
            self._count(photo)
        self._held = []
        low, high = self._extremes(broken)
        return TensorStatistics(
            counts=self.counts,
            low=self.low,
            high=self.high,
            moving=self.moving,
            mean=self.sums / (MEAN_STEPS * max(1, self.values)),
            channel_low=low,
            channel_high=high,
            channel_reach=np.maximum(np.abs(low), np.abs(high)),
            leads=self.leads,
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
    """Collect the statistics of every tensor that quantization may round.

    Args:
        graph: The reference graph.
        photos: The preprocessed photos (H, W, C) float32.
        progress: A function that is called with the number of photos done so far.
        products: Whether to collect the covariances of the inputs of convolutions too.

    Returns:
        The statistics of each tensor, by its name.
    """
    names = [node.name for node in graph if not is_last_softmax(graph, node)]
    read = {name: products_of_readers(graph, name) if products else [] for name in names}
    running = {name: _Accumulator(consumer_energy(graph, name), read[name]) for name in names}
    sampler = Sampler(graph, read)
    # Threads of BLAS wait for work by spinning, which takes the cores from the threads that compute the samples.
    with threadpool_limits(1, user_api="blas"):
        for done, samples in enumerate(_ahead(sampler, photos), start=1):
            for name, accumulator in running.items():
                accumulator.add(samples.pop(name))
            progress(done)
    return {name: running.pop(name).result() for name in names}


def _ahead(sampler: Sampler, photos: Iterable[FloatArray]) -> Iterator[dict[str, Sample]]:
    """Yield the samples of every photo in order; those of the next photos are computed while the caller counts one."""
    with ThreadPoolExecutor(max_workers=AT_ONCE) as workers:
        pending: deque[Future[dict[str, Sample]]] = deque()
        for photo in photos:
            pending.append(workers.submit(sampler.samples, photo))
            if len(pending) >= AT_ONCE:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
