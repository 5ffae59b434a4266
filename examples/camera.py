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
import time
from collections import Counter
from statistics import median
from typing import Any

import numpy as np

import xedge
from xedge.photos.camera import newest, open_camera


class Synthetic:
    """A coloured square that moves over a grey background.

    Args:
        rate: The number of frames per second.
    """

    name, live = "synthetic", True

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

    def close(self) -> None:
        """Close nothing; cameras that exist let other programs have them."""


def main() -> int:
    """Classify frames until there are no more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="the bundle's folder or zip file")
    parser.add_argument("--source", default="synthetic", help="where the frames come from (synthetic)")
    parser.add_argument("--frames", type=int, help="end after this number of frames")
    options = parser.parse_args()
    try:
        camera = Synthetic() if options.source == "synthetic" else open_camera(options.source)
    except xedge.XedgeError as error:
        raise SystemExit(str(error)) from None
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
