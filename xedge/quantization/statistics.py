"""The statistics of a tensor from calibration, and how they change when its channels are scaled and shifted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from xedge.types import FloatArray

# The bin of a float32 is given by its sign, its exponent and the first five bits of its mantissa. A bin is 3 % wide
# everywhere.
_SHIFT = 23 - 5
BINS = 1 << (32 - _SHIFT)


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorStatistics:
    """The statistics of one tensor over the calibration photos.

    Args:
        counts: The energy-weighted number of values in each bin (BINS,), in whole steps.
        low: The lowest value.
        high: The highest value.
        moving: The moving averages of the photos' lowest and highest values. They depend on the order of the photos and
            are used for comparison only.
        mean: The mean (channels,) of each channel.
        channel_low: The lowest value (channels,) of each channel. If there are many photos, the most extreme one is
            left out. If there are few, it counts for at most twice the next one, and a margin is added for what they do
            not show.
        channel_high: The highest value (channels,) of each channel, with the same treatment of extreme photos.
        channel_reach: The greatest absolute value (channels,) of each channel, with the same treatment of extreme
            photos.
        leads: The number of photos (channels,) in which each channel has the highest value of all channels. For the
            logits, these are the answers.
        channels: The number of values of each channel in each coarse bin (channels, CHANNEL_BINS); None after the
            channels were changed.
        covariances: The covariance (inputs, inputs) of the inputs from which one output is computed, for the
            convolutions that read the tensor, by their names. The inputs are in the order of the kernel (height, width,
            channel) and are taken before any change of the channels. Depthwise convolutions have one matrix for each
            channel (channels, taps, taps).
        scale: The scale (channels,) of a change of the channels, after which the tensor holds
            (reference - shift) / scale; None without a change.
        shift: The shift (channels,) of that change; None without a change.
        fixed: The range (low, high), if it was already determined elsewhere; None otherwise.
    """

    counts: npt.NDArray[np.int64]
    low: float
    high: float
    moving: tuple[float, float]
    mean: npt.NDArray[np.float64]
    channel_low: npt.NDArray[np.float64]
    channel_high: npt.NDArray[np.float64]
    channel_reach: npt.NDArray[np.float64]
    leads: npt.NDArray[np.int64]
    channels: npt.NDArray[np.int32] | None = None
    covariances: Mapping[str, FloatArray] = field(default_factory=dict)
    scale: npt.NDArray[np.float64] | None = None
    shift: npt.NDArray[np.float64] | None = None
    fixed: tuple[float, float] | None = None

    def histogram(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the centres of the bins that are not empty, in ascending order, and their weights."""
        used = np.flatnonzero(self.counts)
        centres = BIN_CENTRES[used]
        order = np.argsort(centres)
        return np.clip(centres[order], self.low, self.high), self.counts[used][order].astype(np.float64)

    def changed(
        self, scale: npt.NDArray[np.float64], shift: npt.NDArray[np.float64], energy: npt.NDArray[np.int64]
    ) -> TensorStatistics:
        """Return the statistics of (tensor - shift) / scale.

        Args:
            scale: The scale (channels,).
            shift: The shift (channels,).
            energy: The weight (channels,) of noise on each channel in the nodes that read the changed tensor.
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
    with np.errstate(invalid="ignore"):  # Some bins stand for infinities and NaN.
        return np.asarray(bits.view(np.float32), dtype=np.float64)


BIN_CENTRES = _bin_centres()


def tensor_bins(values: FloatArray) -> npt.NDArray[np.uint16]:
    """Return the index of the bin of each value."""
    return np.asarray((values.view(np.uint32) >> np.uint32(_SHIFT)).astype(np.uint16))


# The bins for each channel are coarser: they have two bits of mantissa and only exponents that occur in activations.
# Smaller values count as zero.
_CHANNEL_BITS = 2
_CHANNEL_SHIFT = 23 - _CHANNEL_BITS
_LEAST, _GREATEST = (127 - 14) << _CHANNEL_BITS, (127 + 14) << _CHANNEL_BITS
_HALF = _GREATEST - _LEAST + 1
CHANNEL_BINS = 2 * _HALF
# The values of a coarse bin are spread over this number of places; otherwise a clipping bound could only lie at the
# edge of a bin.
PLACES = 4


def _coarse() -> npt.NDArray[np.int32]:
    """Return the index (BINS,) of the coarse bin that contains each bin."""
    bits = (np.arange(BINS, dtype=np.uint32) << np.uint32(_SHIFT)).view(np.int32)
    magnitude = np.clip(((bits & 0x7FFFFFFF) >> _CHANNEL_SHIFT) - _LEAST + 1, 0, _HALF - 1)
    return np.asarray(magnitude + _HALF * (bits < 0), dtype=np.int32)


COARSE = _coarse()


def _channel_places() -> npt.NDArray[np.float64]:
    """Return the values (CHANNEL_BINS, PLACES) over which each coarse bin is spread."""
    numbers = np.arange(_LEAST - 1, _GREATEST, dtype=np.int32)
    first = numbers << _CHANNEL_SHIFT
    steps = ((2 * np.arange(PLACES, dtype=np.int32) + 1) << _CHANNEL_SHIFT) // (2 * PLACES)
    places = (first[:, None] + steps).astype(np.int32).view(np.float32).astype(np.float64)
    places[0] = 0.0
    return np.concatenate([places, -places])


CHANNEL_PLACES = _channel_places()
Statistics = Mapping[str, TensorStatistics]
