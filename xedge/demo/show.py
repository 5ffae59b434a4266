"""The loop of a demo: take a picture, have each bundle answer it, tell whoever looks, and wait for the next one."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median

from PIL import Image

from xedge.demo.frames import Frame, Source
from xedge.demo.loaded import WINDOW, LoadedBundle
from xedge.demo.state import Answer, Change, Class, Shown, State, Tally
from xedge.errors import InputError, ResourceError
from xedge.metrics import most_probable
from xedge.types import FloatArray

# The rate is that of so many photos: it follows what happens within seconds.
RATE_WINDOW = 30
ACTIONS = ("pause", "resume", "next", "previous")
# The longer side of the picture on the page, in pixels, and the quality of its JPEG.
PICTURE_SIDE, PICTURE_QUALITY = 960, 85


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """A state with its number and its picture.

    Args:
        number: The number of the state, which grows with each change.
        state: The state.
        image: The picture that is shown; None before the first one.
    """

    number: int
    state: State
    image: Image.Image | None

    @cached_property
    def picture(self) -> str | None:
        """The picture as the address of an image on a page, made when somebody first looks."""
        if self.image is None:
            return None
        small, file = self.image.copy(), io.BytesIO()
        small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
        small.save(file, "JPEG", quality=PICTURE_QUALITY)
        return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


class Show:
    """A demo that runs in one thread, while others look at it and control it.

    Args:
        bundles: One or two bundles; two have the same classes.
        source: Where the pictures come from.
        top: The number of classes to show.
        period_s: The least time from one photo to the next in seconds.
        told: A function that is given why a photo was skipped.
        clock: A function that returns the time in seconds.
    """

    def __init__(
        self,
        bundles: Sequence[LoadedBundle],
        source: Source,
        *,
        top: int,
        period_s: float,
        told: Callable[[str], object],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.bundles, self.source, self.period_s = bundles, source, period_s
        self._top, self._told, self._clock = top, told, clock
        self._tally, self._skipped = Tally(recurring=source.total is not None), dict[str, None]()
        self._work_ms: deque[float] = deque(maxlen=WINDOW)
        self._ends: deque[float] = deque(maxlen=RATE_WINDOW)
        self._steps: deque[int] = deque()
        self._changed = threading.Condition()
        self._latest = Snapshot(number=0, state=State(), image=None)

    def run(self) -> None:
        """Show one picture after another until the thread is interrupted.

        Raises:
            InputError: None of the photos can be read, or the camera gives no more frames.
            BundleError: A runtime cannot compute an artifact.
        """
        step = 1
        while True:
            begin = self._clock()
            self._show(step)
            step = self._wait(begin)

    def control(self, action: str) -> None:
        """Do what a user asks for: one of ``ACTIONS``.

        Raises:
            ValueError: There is no such action.
        """
        if action not in ACTIONS:
            raise ValueError(f"no such action; there are {', '.join(ACTIONS)}")
        with self._changed:
            # What passes by while the user decides is no time of the loop's.
            self._ends.clear()
            if action in ("pause", "resume"):
                self._update(paused=action == "pause")
            else:
                self._steps.append(1 if action == "next" else -1)
                self._changed.notify_all()

    def after(self, number: int, timeout_s: float) -> Snapshot | None:
        """Wait for a snapshot that is newer than the one with this number; None if none comes in time.

        Args:
            number: The number of the latest snapshot that is known.
            timeout_s: The longest time to wait in seconds.
        """
        with self._changed:
            newer = self._changed.wait_for(lambda: self._latest.number > number, timeout_s)
            return self._latest if newer else None

    @property
    def state(self) -> State:
        """The latest state."""
        return self._latest.state

    def _update(self, image: Image.Image | None = None, **changes: object) -> None:
        with self._changed:
            before = self._latest
            state = replace(before.state, **changes)  # type: ignore[arg-type]
            self._latest = Snapshot(number=before.number + 1, state=state, image=image or before.image)
            self._changed.notify_all()

    def _wait(self, begin: float) -> int:
        """Wait until the next photo is due or asked for, and return in which direction it is."""
        with self._changed:
            while not self._steps:
                left_s = None
                if not (self.state.paused or self.state.ended):
                    left_s = begin + self.period_s - self._clock()
                    if left_s <= 0:
                        return 1
                self._changed.wait(left_s)
            return self._steps.popleft()

    def _show(self, step: int) -> None:
        """Show the next photo that can be read."""
        refused: InputError | ResourceError | None = None
        for _ in range(self.source.total or 1):
            try:
                begin = self._clock()
                frame = self.source.take(step)
                if frame is None:
                    self._update(ended=True)
                    return
                # The time until a camera has its next frame is no work.
                shown, image = self._answered(frame, self._clock() if self.source.live else begin)
            except (InputError, ResourceError) as error:
                refused = refused or error
                self._skip(str(error))
            else:
                self._update(image, shown=shown)
                return
        assert refused is not None
        if self.source.total is None:
            raise refused
        raise InputError(f"{self.source.name}: none of its photos can be read, such as {refused}")

    def _skip(self, why: str) -> None:
        if why not in self._skipped:
            self._skipped[why] = None
            self._told(f"skipped: {why}")
            self._update(skipped=len(self._skipped), notice=why)

    def _answered(self, frame: Frame, begin: float) -> tuple[Shown, Image.Image]:
        """Have each bundle answer a picture; they take turns in being the first."""
        found: dict[int, FloatArray] = {}
        order = range(len(self.bundles))
        for index in order if frame.place % 2 else reversed(order):
            found[index] = self.bundles[index].probabilities(frame.image)
        change = self._tally.add(frame.name, found[0], found[1]) if len(found) > 1 else None
        image = self.bundles[0].seen(frame.image)
        end = self._clock()
        self._work_ms.append(1000 * (end - begin))
        with self._changed:
            self._ends.append(end)
            per_second = _rate(self._ends)
        return self._shown(frame, [found[index] for index in order], change, per_second), image

    def _shown(
        self, frame: Frame, found: Sequence[FloatArray], change: Change | None, per_second: float | None
    ) -> Shown:
        answers = tuple(
            Answer(
                classes=tuple(
                    Class(label=bundle.labels[i], probability=float(probabilities[i]))
                    for i in most_probable(probabilities, self._top)
                ),
                p50_ms=bundle.p50_ms,
                samples=bundle.samples,
            )
            for bundle, probabilities in zip(self.bundles, found, strict=True)
        )
        return Shown(
            photo=frame.name,
            place=frame.place,
            truth=frame.truth,
            answers=answers,
            change=change,
            work_ms=median(self._work_ms),
            per_second=per_second,
        )


def _rate(ends: Sequence[float]) -> float | None:
    """Return how many photos per second there are, from the times in seconds at which they were done."""
    return (len(ends) - 1) / (ends[-1] - ends[0]) if len(ends) > 1 and ends[-1] > ends[0] else None
