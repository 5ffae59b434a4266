"""``xedge demo``."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from xedge.bundle.opening import opened_all, photos_for
from xedge.bundle.reading import Bundle
from xedge.cli.console import Console, megabytes, milliseconds
from xedge.demo.frames import CameraFrames, PhotoFrames, Source
from xedge.demo.loaded import WINDOW, LoadedBundle
from xedge.demo.server import Server, serving
from xedge.demo.show import RATE_WINDOW, Show
from xedge.demo.state import State
from xedge.device.board import read_board
from xedge.errors import UsageError, parameter
from xedge.measuring.starting import RunOptions
from xedge.photos.camera import open_camera
from xedge.runtimes.classifier import try_bundle

# Slow enough to look at each photo. A camera and a video are not slowed down.
PHOTOS_PER_SECOND = 1.0


def main(options: argparse.Namespace) -> int:
    """Serve the page until the program is interrupted."""
    _check(options)
    console = Console(options.json, options.quiet)
    with opened_all(options.bundles) as bundles:
        _check_classes(bundles)
        with _source(options, bundles[0]) as source:
            chosen = RunOptions(threads=options.threads, runtime=options.runtime, provider=options.provider)
            for bundle in bundles:
                try_bundle(bundle, chosen.settings(bundle), chosen.runtime)
            loaded = [LoadedBundle(bundle, chosen) for bundle in bundles]
            rate = options.rate or (PHOTOS_PER_SECOND if source.total is not None else None)
            show = Show(
                loaded, source, top=options.top, period_s=1 / rate if rate is not None else 0.0, told=console.stage
            )
            with serving(show, options.host, options.port, _title(bundles), _facts(show, chosen)) as server:
                try:
                    _tell(server, console, open_browser=options.open)
                    show.run()
                except KeyboardInterrupt:  # This is how a demo ends.
                    console.stage(_summary(loaded, show.state))
    return 0


def _check(options: argparse.Namespace) -> None:
    if len(options.bundles) > 2:
        raise UsageError("BUNDLE: the page shows one bundle, or two side by side; leave the others out")
    if options.camera is not None and options.data is not None:
        raise UsageError(f"{parameter('camera')} and {parameter('data')} both say what is shown; give one of them")


def _check_classes(bundles: Sequence[Bundle]) -> None:
    first, *others = bundles
    for other in others:
        if other.labels != first.labels:
            raise UsageError(
                f"{other.source}: has other classes than {first.source}, so their answers cannot be compared; give two "
                "bundles of one model"
            )


@contextmanager
def _source(options: argparse.Namespace, bundle: Bundle) -> Iterator[Source]:
    """Yield where the pictures come from.

    Raises:
        UsageError: No photos are named, and the bundle has none.
    """
    source: Source
    if options.camera is not None:
        source = CameraFrames(open_camera(options.camera))
    else:
        photos = photos_for(bundle, options.data, None)
        if photos is None:
            raise UsageError(
                f"{bundle.source}: comes without photos; give {parameter('data')} DIR, or {parameter('camera')} N"
            )
        source = PhotoFrames(photos, bundle.labels)
    try:
        yield source
    finally:
        source.close()


def _title(bundles: Sequence[Bundle]) -> str:
    """Return the models and precisions that are shown; a model of both bundles is named once."""
    models = dict.fromkeys(bundle.manifest.model.name for bundle in bundles)
    precisions = dict.fromkeys(bundle.manifest.precision for bundle in bundles)
    return f"{' and '.join(models)}, {' beside '.join(precisions)}"


def _facts(show: Show, chosen: RunOptions) -> dict[str, Any]:
    """Return what the page says about the bundles and the machine, and what its figures include."""
    board = read_board()
    threads = chosen.thread_count()
    noun = "thread" if threads == 1 else "threads"
    emulated = ", emulated" if board.emulated else ""
    names = [bundle.name for bundle in show.bundles]
    return {
        "machine": f"{board.model or board.machine}{emulated}, {board.cores} cores, {threads} {noun}",
        "bundles": [
            {
                "name": bundle.name if names.count(bundle.name) == 1 else str(bundle.bundle.source),
                "about": f"{bundle.bundle.manifest.target} {bundle.bundle.manifest.precision}, "
                f"{megabytes(bundle.bundle.artifact_bytes)}, {bundle.runtime}",
            }
            for bundle in show.bundles
        ],
        "total": show.source.total,
        "included": _included(show),
    }


def _included(show: Show) -> list[tuple[str, str]]:
    """Return each figure of the page with what it includes."""
    photo, photos = ("frame", "frames") if show.source.total is None else ("photo", "photos")
    answers = "the answers of both bundles" if len(show.bundles) > 1 else "the answer"
    started = "the arrival of the frame" if show.source.live else f"reading the {photo}"
    waits = f", and waiting until the next {photo} is due" if show.period_s else ""
    rest = f" Between {photos} the processor rests, which can make it longer than that of xedge run." if waits else ""
    inference = f"The p50 is the median time of the bundle's last {WINDOW} inferences, the runtime alone.{rest}"
    work = f"The time from {started} to {answers}: decoding, scaling and inference; the median of {WINDOW}."
    whole = f"The rate of the last {RATE_WINDOW} {photos}: getting one, decoding, scaling, inference{waits}."
    page = "The picture for this page is made beside it, which takes time of the processor too."
    return [("Inference", inference), ("Work", work), (f"{photos.capitalize()} per second", f"{whole} {page}")]


def _tell(server: Server, console: Console, *, open_browser: bool) -> None:
    """Print the address of the page, and who can open it."""
    first = server.urls[0]
    if not server.local:
        console.stage(
            "others in the network can open this page, without encryption; who has the address with its token sees "
            "what it shows"
        )
    lines = [*server.urls, "the page is there until you press Ctrl-C"]
    console.result({"schema": "xedge.demo/1", "url": first}, "\n".join(lines))
    sys.stdout.flush()  # Whoever reads the address from a pipe waits for it.
    if open_browser and not (_has_screen() and webbrowser.open(server.urls[-1])):
        console.stage("there is no browser on this machine; open the address with another one")


def _has_screen() -> bool:
    """Whether a window can open; a browser in the terminal would take the demo's place."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _summary(loaded: Sequence[LoadedBundle], state: State) -> str:
    """Return what was shown, in one line."""
    if state.shown is None:
        return "ended before the first photo"
    parts = [f"{one.name} p50 {milliseconds(one.p50_ms)} of the last {one.samples}" for one in loaded]
    change = state.shown.change
    if change is not None:
        parts.append(f"first class differs for {change.changed} of {change.photos}")
    if state.skipped:
        parts.append(f"{state.skipped} skipped")
    return f"ended: {'; '.join(parts)}"
