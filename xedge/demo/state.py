"""What the page is told, as JSON, each time that something changes; and what is counted over the photos so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xedge.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class Class:
    """A class and its probability.

    Args:
        label: The name of the class.
        probability: The probability that the bundle gives it, 0 to 1.
    """

    label: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a bundle answers to a photo.

    Args:
        classes: The classes, the most probable first.
        p50_ms: The median time of the bundle's last inferences in milliseconds.
        samples: The number of these inferences.
    """

    classes: tuple[Class, ...]
    p50_ms: float
    samples: int


@dataclass(frozen=True, kw_only=True)
class Change:
    """What differs between the answers of two bundles, for one photo and over all photos so far.

    Args:
        first_differs: Whether the first class of this photo differs.
        difference: The greatest difference of a probability for this photo, 0 to 1.
        photos: The number of photos so far; a photo that is shown again does not count again.
        changed: The number of them whose first class differs.
        mean_difference: The mean over them of the greatest difference of a probability.
        greatest_difference: The greatest difference of a probability over them.
        greatest_photo: The name of the photo that has it.
    """

    first_differs: bool
    difference: float
    photos: int
    changed: int
    mean_difference: float
    greatest_difference: float
    greatest_photo: str


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The photo that is shown, and the figures up to it.

    Args:
        photo: The name of the photo, or the number of the frame.
        place: Its place in the order of the demo, or the number of the frame, from 1.
        truth: The class that the set of photos gives it; None if the set has no classes.
        answers: What each bundle answers, in the order of the bundles.
        change: What differs between two bundles; None for a single bundle.
        work_ms: The median time of the last photos in milliseconds, from reading to the answers of all bundles.
        per_second: The number of photos per second over the last photos, waiting included; None until there are two.
    """

    photo: str
    place: int
    truth: str | None
    answers: tuple[Answer, ...]
    change: Change | None
    work_ms: float
    per_second: float | None


@dataclass(frozen=True, kw_only=True)
class State:
    """Everything that changes on the page.

    Args:
        shown: The photo that is shown; None before the first one.
        paused: Whether the demo waits for the user.
        ended: Whether the video has no more frames.
        skipped: The number of photos that could not be read.
        notice: Why the latest of them could not be read; None if all could.
    """

    shown: Shown | None = None
    paused: bool = False
    ended: bool = False
    skipped: int = 0
    notice: str | None = None


class Tally:
    """Counts what differs between two bundles. A photo that is shown again is not counted again.

    Args:
        recurring: Whether photos can be shown again. The names of frames, which come once, are not kept.
    """

    def __init__(self, *, recurring: bool) -> None:
        self._recurring, self._known = recurring, set[str]()
        self._photos, self._changed, self._sum, self._greatest, self._photo = 0, 0, 0.0, -1.0, ""

    def add(self, photo: str, first: FloatArray, second: FloatArray) -> Change:
        """Count a photo and return what differs.

        Args:
            photo: The name of the photo, by which it is known again.
            first: The probabilities (classes,) of one bundle.
            second: The probabilities (classes,) of the other bundle.
        """
        differs = bool(np.argmax(first) != np.argmax(second))
        difference = float(np.abs(first - second).max())
        if photo not in self._known:
            if self._recurring:
                self._known.add(photo)
            self._photos += 1
            self._changed += differs
            self._sum += difference
            if difference > self._greatest:
                self._greatest, self._photo = difference, photo
        return Change(
            first_differs=differs,
            difference=difference,
            photos=self._photos,
            changed=self._changed,
            mean_difference=self._sum / self._photos,
            greatest_difference=self._greatest,
            greatest_photo=self._photo,
        )
