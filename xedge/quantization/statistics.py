"""What calibration knows of one tensor, and what becomes of that when its channels are scaled and moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from xedge.types import FloatArray

# A float32's sign, exponent and first five bits of mantissa name its bin: 3 % wide, anywhere on the real line.
_SHIFT = 23 - 5
BINS = 1 << (32 - _SHIFT)


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorStatistics:
    """What was seen of one tensor.

    Args:
        counts: (BINS,) energy-weighted number of values in each bin, in whole steps.
        low, high: the extremes.
        moving: moving averages of the photos' extremes, which depend on their order; for comparison alone.
        mean: (channels,) average of each channel.
        channel_low, channel_high: (channels,) the extremes of each channel; its most extreme photo is left out of many,
            and of few counts for at most twice the next one, with a margin for what they do not show.
        channel_reach: (channels,) how far a channel is from zero at most, likewise.
        channels: (channels, CHANNEL_BINS) number of values in each coarse bin; None once the channels were changed.
        covariances: for convolutions that read the tensor, by name, (inputs, inputs) of what one output sees: kernel
            height, width and channels, in the order of its kernel, before any change of the channels.
        scale, shift: (channels,) what was done to the channels: the tensor holds (reference - shift) / scale.
        fixed: the range, where something has decided it already.
    """

    counts: npt.NDArray[np.int64]
    low: float
    high: float
    moving: tuple[float, float]
    mean: npt.NDArray[np.float64]
    channel_low: npt.NDArray[np.float64]
    channel_high: npt.NDArray[np.float64]
    channel_reach: npt.NDArray[np.float64]
    channels: npt.NDArray[np.int32] | None = None
    covariances: Mapping[str, FloatArray] = field(default_factory=dict)
    scale: npt.NDArray[np.float64] | None = None
    shift: npt.NDArray[np.float64] | None = None
    fixed: tuple[float, float] | None = None

    def histogram(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the bins that hold something: their centres, ascending, and their weights."""
        used = np.flatnonzero(self.counts)
        centres = BIN_CENTRES[used]
        order = np.argsort(centres)
        return np.clip(centres[order], self.low, self.high), self.counts[used][order].astype(np.float64)

    def changed(
        self, scale: npt.NDArray[np.float64], shift: npt.NDArray[np.float64], energy: npt.NDArray[np.int64]
    ) -> TensorStatistics:
        """Return the statistics of (tensor - shift) / scale.

        Args:
            scale: (channels,).
            shift: (channels,).
            energy: (channels,) what noise on a channel weighs at the readers of the changed tensor.
        """
        low, high = (self.channel_low - shift) / scale, (self.channel_high - shift) / scale
        before = np.ones_like(scale) if self.scale is None else self.scale
        moved = np.zeros_like(scale) if self.shift is None else self.shift
        return replace(
            self,
            counts=self._changed_counts(scale, shift, energy),
            low=float(low.min()),
            high=float(high.max()),
            mean=(self.mean - shift) / scale,
            channel_low=low,
            channel_high=high,
            channel_reach=np.maximum(np.abs(low), np.abs(high)) if shift.any() else self.channel_reach / scale,
            channels=None,
            scale=before * scale,
            shift=moved + before * shift,
        )

    def _changed_counts(
        self, scale: npt.NDArray[np.float64], shift: npt.NDArray[np.float64], energy: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        assert self.channels is not None, "channels can be changed once"
        counts = np.zeros(BINS, np.int64)
        used = np.flatnonzero(self.channels.any(0))
        for places, column in zip(CHANNEL_PLACES[used], self.channels[:, used].T, strict=True):
            weights = column * energy
            for place in places:
                values = ((place - shift) / scale).astype(np.float32)
                np.add.at(counts, tensor_bins(values), weights)
        return counts


def _bin_centres() -> npt.NDArray[np.float64]:
    middle = np.uint32(1 << (_SHIFT - 1))
    bits = (np.arange(BINS, dtype=np.uint32) << np.uint32(_SHIFT)) | middle
    with np.errstate(invalid="ignore"):  # the bins of infinities and NaN
        return np.asarray(bits.view(np.float32), dtype=np.float64)


BIN_CENTRES = _bin_centres()


def tensor_bins(values: FloatArray) -> npt.NDArray[np.uint32]:
    """Return the bin of each value."""
    return np.asarray(values.view(np.uint32) >> np.uint32(_SHIFT))


# Per channel, coarser: two bits of mantissa, and exponents that activations have; smaller values count as zero.
_CHANNEL_BITS = 2
_CHANNEL_SHIFT = 23 - _CHANNEL_BITS
_LEAST, _GREATEST = (127 - 14) << _CHANNEL_BITS, (127 + 14) << _CHANNEL_BITS
_HALF = _GREATEST - _LEAST + 1
CHANNEL_BINS = 2 * _HALF
# A coarse bin is spread over so many places, or a clipping bound could only stand on its edges.
PLACES = 4


def _coarse() -> npt.NDArray[np.int32]:
    """Return (BINS,) the coarse bin that holds each bin."""
    bits = (np.arange(BINS, dtype=np.uint32) << np.uint32(_SHIFT)).view(np.int32)
    magnitude = np.clip(((bits & 0x7FFFFFFF) >> _CHANNEL_SHIFT) - _LEAST + 1, 0, _HALF - 1)
    return np.asarray(magnitude + _HALF * (bits < 0), dtype=np.int32)


COARSE = _coarse()


def _channel_places() -> npt.NDArray[np.float64]:
    """Return (CHANNEL_BINS, PLACES) values within each bin."""
    numbers = np.arange(_LEAST - 1, _GREATEST, dtype=np.int32)
    first = numbers << _CHANNEL_SHIFT
    steps = ((2 * np.arange(PLACES, dtype=np.int32) + 1) << _CHANNEL_SHIFT) // (2 * PLACES)
    places = (first[:, None] + steps).astype(np.int32).view(np.float32).astype(np.float64)
    places[0] = 0.0
    return np.concatenate([places, -places])


CHANNEL_PLACES = _channel_places()
Statistics = Mapping[str, TensorStatistics]
