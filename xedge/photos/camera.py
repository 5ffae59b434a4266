"""Take frames: of the system's cameras (V4L2 on Linux) and videos by OpenCV, of a Raspberry Pi's by picamera2."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator
from typing import Any, Protocol

import numpy as np

from xedge.errors import InputError, MissingRuntimeError, brief
from xedge.native_log import native_log
from xedge.types import UInt8Array

# So many frames are let pass first: cameras set their exposure by what they see.
SETTLING_FRAMES = 10
# What stands for the Raspberry Pi's own camera where a camera is named.
PICAMERA = "picamera"


class Camera(Protocol):
    """A source of frames.

    Args:
        name: The name of the source for people.
        live: Whether frames come in real time, so that frames that come too early are dropped.
    """

    name: str
    live: bool

    def read(self) -> UInt8Array | None:
        """Wait for the next frame and return it, (H, W, 3) uint8 in RGB; None means that there are no more."""

    def close(self) -> None:
        """Let other programs have the camera."""


class OpenCvCamera:
    """A camera of the system or a video file, read with OpenCV.

    Args:
        source: The number of a camera, such as 0 for /dev/video0, or the name of a video file.

    Raises:
        MissingRuntimeError: OpenCV is not installed.
        InputError: There is no such camera or video.
    """

    def __init__(self, source: int | str) -> None:
        self.live = isinstance(source, int)
        self.name = f"camera {source}" if self.live else str(source)
        try:
            import cv2  # noqa: PLC0415 - a device needs it for cameras alone
        except ImportError as error:
            raise MissingRuntimeError(
                f"{self.name}: OpenCV reads cameras and is not installed: pip install opencv-python-headless"
            ) from error
        with native_log():  # OpenCV prints what each of its readers thinks of a camera
            self._cv2, self._capture = cv2, cv2.VideoCapture(source)
        if not self._capture.isOpened():
            advice = "`ls /dev/video*` shows the cameras that there are" if self.live else "is it a video?"
            raise InputError(f"{self.name}: cannot be opened; {advice}")

    def read(self) -> UInt8Array | None:
        """Wait for the next frame and return it, (H, W, 3) uint8 in RGB; None means that there are no more."""
        there, frame = self._capture.read()
        return np.asarray(self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB), np.uint8) if there else None

    def close(self) -> None:
        """Let other programs have the camera."""
        self._capture.release()


class PiCamera:
    """The camera of a Raspberry Pi, read with picamera2, which comes with Raspberry Pi OS.

    Raises:
        MissingRuntimeError: picamera2 cannot be imported.
        InputError: There is no camera, or another program uses it.
    """

    name = PICAMERA
    live = True

    def __init__(self) -> None:
        try:
            from picamera2 import Picamera2  # noqa: PLC0415 - exists only on a Raspberry Pi
        except ImportError as error:
            raise MissingRuntimeError(
                f"picamera2 cannot be imported ({brief(error)}): sudo apt install python3-picamera2, and make the "
                "virtual environment with --system-site-packages (docs/raspberry-pi.md)"
            ) from error
        try:
            self._camera: Any = Picamera2()
            # libcamera names the channels from the last byte to the first, so BGR888 gives arrays in RGB.
            self._camera.configure(self._camera.create_video_configuration({"size": (640, 480), "format": "BGR888"}))
            self._camera.start()
        except Exception as error:  # picamera2 raises errors of many kinds
            raise InputError(
                f"{self.name}: cannot be opened ({brief(error)}); `rpicam-hello --list-cameras` shows the cameras that "
                "there are"
            ) from error

    def read(self) -> UInt8Array | None:
        """Wait for the next frame and return it, (H, W, 3) uint8 in RGB."""
        return np.asarray(self._camera.capture_array("main"), np.uint8)

    def close(self) -> None:
        """Let other programs have the camera."""
        self._camera.close()


def open_camera(named: str) -> Camera:
    """Return the camera that a word names.

    Args:
        named: The number of a camera, ``picamera`` for that of a Raspberry Pi, or the name of a video file.

    Raises:
        MissingRuntimeError: The package that reads it is not installed.
        InputError: It cannot be opened.
    """
    if named == PICAMERA:
        return PiCamera()
    return OpenCvCamera(int(named) if named.isdecimal() else named)


def camera_photo(source: int | str) -> UInt8Array:
    """Return a frame (H, W, 3) uint8 in RGB.

    Args:
        source: The number of a camera, such as 0 for /dev/video0; or a video file, of which a frame near its beginning
            is taken.

    Raises:
        MissingRuntimeError: OpenCV is not installed.
        InputError: There is no such camera or video, or it gives no frame.
    """
    camera = OpenCvCamera(source)
    with native_log():
        try:
            frames = [camera.read() for _ in range(SETTLING_FRAMES)]
        finally:
            camera.close()
    taken = [frame for frame in frames if frame is not None]
    if not taken:
        raise InputError(f"{camera.name}: gives no frame; is another program using it?")
    return taken[-1]


def newest(camera: Camera, dropped: Counter[str]) -> Generator[UInt8Array, None, None]:
    """Yield all frames of a file, or always the newest frame of a live camera, which a separate thread reads.

    Args:
        camera: The source of the frames.
        dropped: A counter whose entry ``dropped`` is increased for every frame that is dropped.

    Raises:
        InputError: The camera fails.
    """
    if not camera.live:
        while (frame := camera.read()) is not None:
            yield frame
        return
    latest: list[UInt8Array | Exception | None] = []
    came, ended = threading.Condition(), threading.Event()

    def watch() -> None:
        while not ended.is_set():
            try:
                frame: UInt8Array | Exception | None = camera.read()
            except Exception as error:  # drivers raise errors of many kinds
                frame = error
            with came:
                dropped["dropped"] += len(latest)
                latest[:] = [frame]
                came.notify()
            if not isinstance(frame, np.ndarray):
                return

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        while True:
            with came:
                came.wait_for(lambda: latest)
                taken = latest.pop()
            if isinstance(taken, Exception):
                raise InputError(f"{camera.name}: gives no more frames ({brief(taken)})") from taken
            if taken is None:
                return
            yield taken
    finally:
        ended.set()
        # A camera must not be closed while it is read; one that hangs is not waited for.
        watching.join(timeout=1)
