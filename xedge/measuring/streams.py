"""Several photos at once: the multistream and offline scenarios of MLPerf Inference.

In the multistream scenario, a query has N photos and is done when the last of them is; the latency of queries is told.
In the offline scenario, all photos are there from the beginning, and photos per second are told (MLPerf Inference
rules, "Scenarios"). An artifact that takes one photo has a session for each of the N, which share the threads; one
that takes N gets them in one call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from xedge.bundle.reading import Bundle
from xedge.errors import UsageError, parameter
from xedge.measuring.latency import Clock, Latency, Schedule, measure, summarize
from xedge.runtimes import Settings
from xedge.runtimes.classifier import open_bundle_classifier
from xedge.types import UInt8Array

MOST_STREAMS = 256
# The least duration of the offline scenario in seconds.
OFFLINE_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Streams:
    """What several photos at once take.

    Args:
        photos: The number of photos of a query.
        sessions: The number of sessions that compute them.
        threads: The number of threads of each session.
        queries: The latency of a query, from its beginning until the last of its photos is done. ``per_second`` counts
            queries.
        multistream_per_second: The photos per second of queries that run one after another.
        offline_per_second: The photos per second if every session begins its next photo at once.
        offline_s: The duration of the offline scenario in seconds.
    """

    photos: int
    sessions: int
    threads: int
    queries: Latency
    multistream_per_second: float
    offline_per_second: float
    offline_s: float


def measure_streams(
    bundle: Bundle,
    pixels: UInt8Array,
    photos: int,
    settings: Settings,
    runtime: str | None,
    schedule: Schedule,
    clock: Clock = time.perf_counter_ns,
) -> Streams:
    """Time queries of several photos, then photos as fast as they can be computed.

    Args:
        bundle: The bundle.
        pixels: The pixels (H, W, C) of a photo.
        photos: The number of photos of a query.
        settings: The settings of a single session, whose threads are shared out.
        runtime: The name of the runtime; None takes the first installed one that opens the artifact.
        schedule: The duration of the warm-up and of the measurement.
        clock: A function that returns the time in nanoseconds.

    Raises:
        UsageError: So many photos at once are not possible, or not with this artifact.
    """
    check_streams(bundle, photos)
    sessions = photos if bundle.manifest.input.shape[0] == 1 else 1
    shared = replace(settings, threads=max(1, settings.threads // sessions))
    classifiers = [open_bundle_classifier(bundle, shared, runtime)[0] for _ in range(sessions)]
    inputs = [one.input(pixels) for one in classifiers]
    if sessions == 1:
        inputs = [np.ascontiguousarray(np.repeat(inputs[0][:1], photos, axis=0))]
    inferences = [
        lambda one=one, photo=photo: one.session.run(photo) for one, photo in zip(classifiers, inputs, strict=True)
    ]
    with ThreadPoolExecutor(sessions) as pool:
        queries = measure(lambda: _together(pool, inferences), replace(schedule, rate=None), clock)
        seconds = max(OFFLINE_S, queries.ends_ns[-1] / 1e9)
        begin = clock()
        end = begin + int(1e9 * seconds)
        done = sum(pool.map(lambda inference: _until(end, inference, clock), inferences))
        elapsed_s = (clock() - begin) / 1e9
    latency = summarize(queries.samples_ns)
    return Streams(
        photos=photos,
        sessions=sessions,
        threads=shared.threads,
        queries=latency,
        multistream_per_second=photos * latency.per_second,
        offline_per_second=done * photos / sessions / elapsed_s,
        offline_s=elapsed_s,
    )


def check_streams(bundle: Bundle, photos: int) -> None:
    """Refuse a number of photos that the artifact cannot take at once.

    Raises:
        UsageError: It cannot.
    """
    if not 1 <= photos <= MOST_STREAMS:
        raise UsageError(f"{parameter('streams')} {photos}: give 1 to {MOST_STREAMS}")
    batch = bundle.manifest.input.shape[0]
    if batch not in (1, -1, photos):
        raise UsageError(
            f"{parameter('streams')} {photos}: the artifact takes {batch} photos at once; give {batch}, or convert "
            "with another batch"
        )


def _together(pool: ThreadPoolExecutor, inferences: Sequence[Callable[[], object]]) -> None:
    """Run all inferences at once and wait for the last."""
    if len(inferences) == 1:
        inferences[0]()
        return
    for future in [pool.submit(inference) for inference in inferences]:
        future.result()


def _until(end: int, inference: Callable[[], object], clock: Clock) -> int:
    """Repeat an inference until a time in nanoseconds and return how many there were."""
    count = 0
    while clock() < end:
        inference()
        count += 1
    return count
