#!/usr/bin/env python3
"""Classify the frames of a camera or a video with a bundle.

    python examples/camera.py BUNDLE [--source synthetic|picamera|FILE|NUMBER] [--frames 300]

The program prints the class whenever it changes, and at the end how many frames it classified and how long one took.
The source ``synthetic`` (the default) makes frames without a camera, and ``picamera`` is the camera of a Raspberry Pi,
read with picamera2. A number is a V4L2 camera (0 is /dev/video0) and a file name is a video; OpenCV reads both. If a
camera delivers frames while the previous one is still being classified, only the newest is kept and the others are
dropped. The frames of a video file are all classified. Press Ctrl-C to end the program.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections import Counter
from collections.abc import Iterator
from statistics import median
from typing import Any, Protocol

import numpy as np

import xedge


class Camera(Protocol):
    """A source of frames, which are uint8 arrays (H, W, 3) in RGB.

    Args:
        live: Whether frames come in real time, so that frames that come too early are dropped.
    """

    live: bool

    def read(self) -> Any:
        """Wait for the next frame and return it; None means that there are no more."""


class Synthetic:
    """A coloured square that moves over a grey background.

    Args:
        rate: The number of frames per second.
    """

    live = True

    def __init__(self, rate: float = 30.0) -> None:
        self.rate, self.number, self.begin = rate, 0, time.monotonic()

    def read(self) -> Any:
        """Wait for the next frame and return it; None means that there are no more."""
        time.sleep(max(0.0, self.begin + self.number / self.rate - time.monotonic()))
        frame = np.full((240, 320, 3), 128, np.uint8)
        x, y = self.number * 3 % 240, self.number * 2 % 160
        frame[y : y + 80, x : x + 80] = (200, 40 + self.number % 160, 60)
        self.number += 1
        return frame


class Video:
    """A video file or a V4L2 camera, read with OpenCV.

    Args:
        source: The name of a video file, or the number of a camera.
    """

    def __init__(self, source: str) -> None:
        try:
            import cv2  # noqa: PLC0415 - only this source needs OpenCV
        except ImportError:
            raise SystemExit("OpenCV is not installed: pip install opencv-python-headless") from None
        self.live = source.isdigit()
        self._cv2, self._capture = cv2, cv2.VideoCapture(int(source) if self.live else source)
        if not self._capture.isOpened():
            raise SystemExit(f"{source}: cannot be opened as a camera or video")

    def read(self) -> Any:
        """Wait for the next frame and return it; None means that there are no more."""
        there, frame = self._capture.read()
        return self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB) if there else None


class PiCamera:
    """The camera of a Raspberry Pi, read with picamera2, which comes with Raspberry Pi OS."""

    live = True

    def __init__(self) -> None:
        try:
            from picamera2 import Picamera2  # noqa: PLC0415 - exists only on a Raspberry Pi
        except ImportError as error:
            raise SystemExit(
                f"picamera2 cannot be imported ({error}): sudo apt install python3-picamera2, and make the virtual "
                "environment with --system-site-packages (docs/raspberry-pi.md)"
            ) from None
        self._camera = Picamera2()
        # libcamera names the channels from the last byte to the first, so BGR888 gives arrays in RGB.
        self._camera.configure(self._camera.create_video_configuration({"size": (640, 480), "format": "BGR888"}))
        self._camera.start()

    def read(self) -> Any:
        """Wait for the next frame and return it; None means that there are no more."""
        return self._camera.capture_array("main")


def newest(camera: Camera, dropped: Counter[str]) -> Iterator[Any]:
    """Yield all frames of a file, or always the newest frame of a live camera, which a separate thread reads.

    Args:
        camera: The source of the frames.
        dropped: A counter whose entry ``dropped`` is increased for every frame that is dropped.
    """
    if not camera.live:
        while (frame := camera.read()) is not None:
            yield frame
        return
    latest: list[Any] = []
    came, ended = threading.Condition(), threading.Event()

    def watch() -> None:
        while not ended.is_set():
            frame = camera.read()
            with came:
                dropped["dropped"] += len(latest)
                latest[:] = [frame]
                came.notify()
                if frame is None:
                    return

    threading.Thread(target=watch, daemon=True).start()
    try:
        while True:
            with came:
                came.wait_for(lambda: latest)
                frame = latest.pop()
            if frame is None:
                return
            yield frame
    finally:
        ended.set()


def main() -> int:
    """Classify frames until there are no more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="the bundle's folder or zip file")
    parser.add_argument("--source", default="synthetic", help="where the frames come from (synthetic)")
    parser.add_argument("--frames", type=int, help="end after this number of frames")
    options = parser.parse_args()
    sources = {"synthetic": Synthetic, "picamera": PiCamera}
    camera: Camera = sources[options.source]() if options.source in sources else Video(options.source)
    times: list[float] = []
    counted: Counter[str] = Counter()
    shown = ""
    with xedge.load(options.bundle) as model:
        begin = time.monotonic()
        try:
            for frame in newest(camera, counted):
                start = time.perf_counter()
                best = model.classify(frame, top=1)[0]
                times.append(1000 * (time.perf_counter() - start))
                if best.label != shown:
                    shown = best.label
                    print(f"{time.monotonic() - begin:6.1f} s  {best.label} {100 * best.probability:.0f} %", flush=True)
                if len(times) == options.frames:
                    break
        except KeyboardInterrupt:
            print()
        seconds = time.monotonic() - begin
    if not times:
        raise SystemExit(f"{options.source}: the source delivered no frames")
    print(
        f"{len(times)} frames in {seconds:.1f} s ({len(times) / seconds:.1f}/s), {counted['dropped']} dropped, "
        f"{median(times):.2f} ms for one frame, scaling included"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
