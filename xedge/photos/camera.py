"""Take a photo with a camera of the system (V4L2 on Linux), by OpenCV where it is installed."""

from __future__ import annotations

import numpy as np

from xedge.errors import InputError, MissingRuntimeError
from xedge.native_log import native_log
from xedge.types import UInt8Array

# So many frames are let pass first: cameras set their exposure by what they see.
SETTLING_FRAMES = 10


def camera_photo(source: int | str) -> UInt8Array:
    """Return a frame (H, W, 3) uint8 in RGB.

    Args:
        source: The number of a camera, such as 0 for /dev/video0; or a video file, of which a frame near its beginning
            is taken.

    Raises:
        MissingRuntimeError: OpenCV is not installed.
        InputError: There is no such camera or video, or it gives no frame.
    """
    try:
        import cv2  # noqa: PLC0415 - a device needs it for cameras alone
    except ImportError as error:
        raise MissingRuntimeError(
            f"camera {source}: OpenCV reads cameras and is not installed: pip install opencv-python-headless"
        ) from error
    with native_log():  # OpenCV prints what each of its readers thinks of a camera
        capture = cv2.VideoCapture(source)
        try:
            if not capture.isOpened():
                raise InputError(
                    f"camera {source}: cannot be opened; `ls /dev/video*` shows the cameras that there are"
                )
            frame = None
            for _ in range(SETTLING_FRAMES):
                there, latest = capture.read()
                frame = latest if there else frame
        finally:
            capture.release()
    if frame is None:
        raise InputError(f"camera {source}: gives no frame; is another program using it?")
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
