"""Where the pictures of a demo come from: a set of photos, in both directions and without an end, or a camera."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from xedge.errors import InputError
from xedge.photos.camera import Camera, newest
from xedge.photos.decoding import open_photo
from xedge.photos.sets import PhotoSet


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """A photo of a set, or a frame of a camera.

    Args:
        name: The name of the photo, or the number of the frame.
        place: The place of the photo in the order of the demo, or the number of the frame, from 1.
        image: The decoded picture.
        truth: The class that the set of photos gives it; None if the set has no classes.
    """

    name: str
    place: int
    image: Image.Image
    truth: str | None = None


class Source(Protocol):
    """Where frames come from."""

    @property
    def name(self) -> str:
        """The name of the source for people."""

    @property
    def total(self) -> int | None:
        """The number of photos; None for a camera or a video, whose frames come once."""

    @property
    def live(self) -> bool:
        """Whether it is a camera, whose frames arrive when they arrive."""

    def take(self, step: int) -> Frame | None:
        """Return the next frame (step 1) or the one before (step -1); None means that there are no more.

        Raises:
            InputError: This photo cannot be read; the next call goes on behind it.
        """

    def close(self) -> None:
        """Let go of what is open."""


class PhotoFrames:
    """The photos of a set, over and over, in an order drawn by a fixed seed, so that classes alternate.

    Args:
        photos: The photos.
        labels: The names of the classes in the order of the outputs, for sets whose classes are numbers.
    """

    live = False

    def __init__(self, photos: PhotoSet, labels: Sequence[str]) -> None:
        self._photos, self._labels = photos, labels
        self._order = list(range(len(photos.files)))
        random.Random(0).shuffle(self._order)
        self._place = -1
        self.name, self.total = str(photos.root), len(self._order)

    def take(self, step: int) -> Frame:
        """Return the next photo (step 1) or the one before (step -1).

        Raises:
            InputError: This photo cannot be read; the next call goes on behind it.
            ResourceError: It cannot be read now.
        """
        self._place = (self._place + step) % self.total
        index = self._order[self._place]
        photo = self._photos.files[index]
        name = self._photos.name_of(photo)
        return Frame(name=name, place=self._place + 1, image=open_photo(photo), truth=self._truth(index))

    def _truth(self, index: int) -> str | None:
        if not self._photos.labelled:
            return None
        names = self._labels if self._photos.numbered else self._photos.classes
        return names[self._photos.truth[index]]

    def close(self) -> None:
        """Let go of nothing: each photo is closed when it is read."""


class CameraFrames:
    """The newest frames of a camera, or all frames of a video.

    Args:
        camera: The camera, which is closed at the end.
    """

    total = None

    def __init__(self, camera: Camera) -> None:
        self._camera, self.name, self.live = camera, camera.name, camera.live
        self._frames = newest(camera, Counter())
        self._taken = 0

    def take(self, step: int) -> Frame | None:
        """Return the newest frame; None after the end of a video.

        Raises:
            InputError: The camera gives no more frames.
        """
        del step
        pixels = next(self._frames, None)
        if pixels is None and self.live:
            raise InputError(f"{self.name}: gives no more frames; is it still connected?")
        if pixels is None:
            return None
        self._taken += 1
        return Frame(name=f"frame {self._taken}", place=self._taken, image=Image.fromarray(pixels))

    def close(self) -> None:
        """Let other programs have the camera."""
        self._frames.close()
        self._camera.close()
