"""What a worker does: it opens bundles once, and evaluates chunks of photos on them."""

from __future__ import annotations

import hashlib
import io
import shutil
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from distributed import WorkerPlugin, get_worker

from xedge.bundle.reading import open_bundle
from xedge.errors import InputError
from xedge.evaluating.chunks import Chunk
from xedge.evaluating.probe import probed
from xedge.evaluating.versions import check_answers
from xedge.measuring.run import check_golden
from xedge.metrics import differences
from xedge.photos.decoding import decoded
from xedge.photos.preprocess import Preprocessing
from xedge.photos.stored import photo_bytes
from xedge.runtimes import Settings
from xedge.runtimes.classifier import Classifier, open_bundle_classifier
from xedge.types import BoolArray, DoubleArray, FloatArray, IntArray, UInt8Array

# So many of the most probable classes are kept for each photo.
TOP = 5


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A bundle as workers know it.

    Args:
        sha256: The sha256 over the bundle's files.
        runtime: The name of the runtime.
        settings: How its artifact is run.
    """

    sha256: str
    runtime: str
    settings: Settings


class BundleFiles(WorkerPlugin):  # type: ignore[misc]
    """A bundle's files on their way to a worker, which gets them once and keeps them on its disk.

    Args:
        sha256: The sha256 over the bundle's files.
        files: The contents by the names of the files.
    """

    idempotent = True

    def __init__(self, sha256: str, files: dict[str, bytes]) -> None:
        self.name, self._sha256, self._files = plugin_name(sha256), sha256, files

    def setup(self, worker: Any) -> None:
        """Write the files into the worker's own folder."""
        folder = _folder(worker, self._sha256)
        for name, data in self._files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        self._files = {}

    def teardown(self, worker: Any) -> None:
        """Remove the files."""
        shutil.rmtree(_folder(worker, self._sha256), ignore_errors=True)


def plugin_name(sha256: str) -> str:
    """Return the name under which a bundle's files are known to a cluster."""
    return f"xedge-bundle-{sha256}"


def _folder(worker: Any, sha256: str) -> Path:
    return Path(worker.local_directory) / "xedge-bundles" / sha256[:32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """What became of the photos of a chunk on one bundle, in the order of the chunk; damaged photos have zeros.

    Args:
        top: The indices (N, TOP) of the most probable classes, the most probable first; -1 beyond the last class.
        probability: The probabilities (N, TOP) of these classes, 0 to 1.
        same: Whether the first class is that of the reference (N,).
        total_variation: The total variation distance from the reference (N,), 0 to 1.
        max_difference: The greatest absolute difference of one probability from the reference (N,), 0 to 1.
        noise: The summed squared difference of centred log-probabilities (N,).
        signal: The summed squared centred log-probabilities of the reference (N,).
    """

    top: IntArray
    probability: FloatArray
    same: BoolArray
    total_variation: DoubleArray
    max_difference: DoubleArray
    noise: DoubleArray
    signal: DoubleArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluated:
    """A chunk that was evaluated.

    Args:
        index: The place of the chunk among all chunks.
        digest: The digest of the chunk.
        sha256: The sha256 of each photo's bytes.
        damage: Why each photo could not be read; empty for photos that could.
        rows: The rows of each bundle that was asked for, by the bundle's sha256.
        seconds: The time that the worker took.
    """

    index: int
    digest: str
    sha256: tuple[bytes, ...]
    damage: tuple[str, ...]
    rows: dict[str, Rows]
    seconds: float


def evaluated(
    chunk: Chunk, wanted: tuple[Delivery, ...], reference: Delivery, versions: tuple[tuple[str, str], ...]
) -> Evaluated:
    """Evaluate a chunk on bundles. A photo is decoded once, and prepared once for all that prepare it alike.

    Args:
        chunk: The photos.
        wanted: The bundles whose rows are asked for.
        reference: The bundle with which the others are compared.
        versions: The versions that this worker has to have, by name; it may have joined after they were asked for.

    Raises:
        XedgeError: This worker has other versions, a photo cannot be reached, or a bundle does not run here as it did
            where it was made.
    """
    start = time.perf_counter()
    _check(versions)
    deliveries = list({one.sha256: one for one in (reference, *wanted)}.values())
    classifiers = _classifiers(deliveries)
    hashes, damage = [], []
    outputs: dict[str, list[FloatArray]] = {sha256: [] for sha256 in classifiers}
    for photo in chunk.photos:
        data = photo_bytes(photo)
        hashes.append(hashlib.sha256(data).digest())
        try:
            pixels = _prepared(data, str(photo), classifiers)
        except InputError as error:
            damage.append(str(error))
            continue
        damage.append("")
        for sha256, classifier in classifiers.items():
            outputs[sha256].append(classifier.classify(pixels[classifier.manifest.preprocessing]))
    readable = np.array([not one for one in damage])
    return Evaluated(
        index=chunk.index,
        digest=chunk.digest,
        sha256=tuple(hashes),
        damage=tuple(damage),
        rows={one.sha256: _rows(outputs[one.sha256], outputs[reference.sha256], readable) for one in wanted},
        seconds=time.perf_counter() - start,
    )


@cache
def _check(versions: tuple[tuple[str, str], ...]) -> None:
    """Refuse to work with other versions; errors are those of ``check_answers``."""
    wanted = dict(versions)
    found = probed(tuple(name for name in wanted if name not in ("python", "machine")), None)
    check_answers({get_worker().address: found}, wanted)


def _prepared(data: bytes, name: str, classifiers: dict[str, Classifier]) -> dict[Preprocessing, UInt8Array]:
    """Return the pixels (H, W, C) of a photo for each way in which the bundles prepare it."""
    image = decoded(io.BytesIO(data), name)
    found: dict[Preprocessing, UInt8Array] = {}
    for classifier in classifiers.values():
        preprocessing = classifier.manifest.preprocessing
        if preprocessing not in found:
            found[preprocessing] = preprocessing.pixels(image)
    return found


def _rows(outputs: list[FloatArray], reference: list[FloatArray], readable: BoolArray) -> Rows:
    """Return the rows of a chunk from the probabilities of the photos that could be read."""
    count = len(readable)
    top, probability = np.full((count, TOP), -1, np.int64), np.zeros((count, TOP), np.float32)
    figures = {name: np.zeros(count) for name in ("total_variation", "max_difference", "noise", "signal")}
    same = np.zeros(count, bool)
    if outputs:
        rows, others = np.stack(outputs), np.stack(reference)
        # Of classes with the same probability the lower index comes first, as in metrics.ranks.
        order = np.argsort(-rows, axis=1, kind="stable")[:, :TOP]
        top[readable, : order.shape[1]] = order
        probability[readable, : order.shape[1]] = np.take_along_axis(rows, order, axis=1)
        found = differences(rows, others)
        same[readable] = found.same
        for name, values in figures.items():
            values[readable] = getattr(found, name)
    return Rows(top=top, probability=probability, same=same, **figures)


# A session is not for two threads at once, and a worker of another's cluster may have several.
_opened = threading.local()


def _classifiers(deliveries: list[Delivery]) -> dict[str, Classifier]:
    """Return the classifiers of bundles by their sha256; each is opened when it is first needed, and kept."""
    known: dict[Delivery, Classifier] = _opened.__dict__.setdefault("classifiers", {})
    for other in set(known) - set(deliveries):  # of an earlier evaluation on this cluster
        del known[other]
    for one in deliveries:
        if one not in known:
            known[one] = _classifier(one)
    return {one.sha256: known[one] for one in deliveries}


def _classifier(delivery: Delivery) -> Classifier:
    """Open a bundle and check it with its golden photos."""
    bundle = open_bundle(_folder(get_worker(), delivery.sha256))
    classifier, _ = open_bundle_classifier(bundle, delivery.settings, delivery.runtime)
    check_golden(bundle, [classifier.classify(one) for one in bundle.golden().pixels])
    return classifier
