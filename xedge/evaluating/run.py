"""Evaluate bundles on a set of photos: what is missing is computed, and all parts together make the report."""

from __future__ import annotations

import importlib.metadata
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client

from xedge._version import __version__
from xedge.bundle.reading import MANIFEST, Bundle
from xedge.errors import InputError, UsageError, parameter
from xedge.evaluating.chunks import Chunk, chunk_count, chunks_of
from xedge.evaluating.cluster import check_workers, deliver, evaluate_all, threads_of
from xedge.evaluating.parts import FOLDER, Shelf, parts_key
from xedge.evaluating.planning import Index, write_index
from xedge.evaluating.report import Against, EvaluatedBundle, EvaluateReport
from xedge.evaluating.tally import Damage, Tally, damage_of, tally_of
from xedge.evaluating.work import Delivery
from xedge.files import sha256
from xedge.measuring.run import bundle_truth
from xedge.measuring.starting import RunOptions
from xedge.metrics import photos_to_prove
from xedge.photos.sets import PhotoSet
from xedge.quantization.gate import Budget, judged_by
from xedge.runtimes import choose_runtime
from xedge.types import IntArray

Report = Callable[[str], None]
# What probabilities depend on besides the runtimes: photos are decoded by Pillow and prepared by NumPy.
PACKAGES = ("xedge", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """A bundle of an evaluation.

    Args:
        bundle: The bundle.
        name: A name that no other bundle of the evaluation has.
        package: The package of the runtime that runs it.
        delivery: The bundle as workers know it.
    """

    bundle: Bundle
    name: str
    package: str
    delivery: Delivery


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What is evaluated.

    Args:
        members: The bundles, in the order in which they were given.
        reference: The bundle with which the others are compared: the first fp32 bundle, or else the first one.
        photos: The photos.
        truth: The index (N,) of the outputs for the true class of each photo; None without labels.
        skip_damaged: The greatest number of photos that cannot be read and are left out.
        output: The folder for the parts.
    """

    members: tuple[Member, ...]
    reference: Member
    photos: PhotoSet
    truth: IntArray | None
    skip_damaged: int
    output: Path


def evaluation_of(
    bundles: Sequence[Bundle], photos: PhotoSet, output: Path, *, runtime: str | None, skip_damaged: int
) -> Evaluation:
    """Return what is evaluated, after checking that it fits together.

    Args:
        bundles: The bundles, one or more.
        photos: The photos.
        output: The folder for the parts.
        runtime: The name of the runtime; None takes the first installed one that opens each artifact.
        skip_damaged: The greatest number of photos that cannot be read and are left out.

    Raises:
        InputError: The bundles or the photos do not have the same classes.
        UsageError: A bundle is given twice, or the runtime does not open one.
        MissingRuntimeError: No runtime for an artifact is installed.
    """
    if not photos.files:
        raise InputError(f"{photos.root}: has no photos")
    first = bundles[0]
    for other in bundles[1:]:
        if other.labels != first.labels:
            raise InputError(
                f"{other.source}: its classes are not those of {first.source}; evaluate bundles of the same classes"
            )
    members = tuple(_member(bundle, name, runtime) for bundle, name in zip(bundles, names_of(bundles), strict=True))
    twice = [one.name for one, many in _counted(members) if many > 1]
    if twice:
        raise UsageError(f"{', '.join(twice)}: the same bundle is given twice; give it once")
    reference = next((one for one in members if one.bundle.manifest.precision == "fp32"), members[0])
    known = next((bundle for bundle in bundles if bundle.manifest.labels_known), first)
    truth = bundle_truth(known, photos) if photos.labelled else None
    return Evaluation(
        members=members, reference=reference, photos=photos, truth=truth, skip_damaged=skip_damaged, output=output
    )


def names_of(bundles: Sequence[Bundle]) -> list[str]:
    """Return a name for each bundle: that of its folder, with as much of the path as tells it from the others."""
    names = [bundle.root.name for bundle in bundles]
    return [str(bundle.source) if names.count(name) > 1 else name for bundle, name in zip(bundles, names, strict=True)]


def _counted(members: Sequence[Member]) -> Iterator[tuple[Member, int]]:
    counts = Counter(one.delivery.sha256 for one in members)
    return ((one, counts[one.delivery.sha256]) for one in members)


def _member(bundle: Bundle, name: str, runtime: str | None) -> Member:
    chosen = choose_runtime(bundle.artifact, runtime)
    settings = RunOptions(threads=1).settings(bundle)
    # The manifest has the hashes of all other files.
    delivery = Delivery(sha256=sha256(bundle.root / MANIFEST), runtime=chosen.name, settings=settings)
    return Member(bundle=bundle, name=name, package=chosen.package, delivery=delivery)


def evaluate_on(
    client: Client, evaluation: Evaluation, budget: Budget, *, answers: bool, report: Report, progress: Report
) -> EvaluateReport:
    """Evaluate what is missing on a cluster, and return the report of all parts.

    Args:
        client: The cluster.
        evaluation: What is evaluated.
        budget: What a bundle may lose against the reference.
        answers: Whether the report has the answer to each photo.
        report: A function that is told one line as each stage ends.
        progress: A function that is told how far the evaluation is.

    Raises:
        XedgeError: A worker lacks something, a photo cannot be read, or the cluster is lost; parts that are finished
            are kept.
    """
    packages = (*PACKAGES, *dict.fromkeys(one.package for one in evaluation.members))
    environment, processors = check_workers(client, packages, _place(evaluation.photos))
    shelves = shelves_of(evaluation, environment)
    _compute(client, evaluation, shelves, environment, report, progress)
    return report_of(evaluation, shelves, budget, environment, processors, answers=answers)


def _place(photos: PhotoSet) -> str | None:
    """Return the path that workers have to be able to read; None where the photos have an address."""
    return str(photos.root.resolve()) if isinstance(photos.root, Path) else None


def shelves_of(evaluation: Evaluation, environment: Mapping[str, str]) -> dict[str, Shelf]:
    """Return the folder of each bundle's parts, by the bundle's sha256."""
    found = {}
    for one in evaluation.members:
        versions = {**environment, "runtime": one.delivery.runtime}
        key = parts_key(one.delivery.sha256, evaluation.reference.delivery.sha256, versions)
        found[one.delivery.sha256] = Shelf(folder=evaluation.output / FOLDER / key)
    return found


def _compute(
    client: Client,
    evaluation: Evaluation,
    shelves: Mapping[str, Shelf],
    environment: Mapping[str, str],
    report: Report,
    progress: Report,
) -> None:
    """Have workers evaluate the chunks whose parts are missing, and write each part as it comes."""
    total = len(evaluation.photos.files)
    write_index(evaluation.output, _index(evaluation, shelves))
    counted = _Progress(total, threads_of(client), progress)
    deliver(client, {one.delivery.sha256: _files(one.bundle) for one in evaluation.members})
    damaged: list[str] = []

    def missing() -> Iterator[tuple[Chunk, tuple[Delivery, ...]]]:
        for chunk in chunks_of(evaluation.photos, evaluation.truth):
            wanted = tuple(one.delivery for one in evaluation.members if not shelves[one.delivery.sha256].has(chunk))
            if wanted:
                yield chunk, wanted
            else:
                counted.kept(len(chunk.names))

    try:
        for chunk, done in evaluate_all(client, missing(), evaluation.reference.delivery, environment):
            damaged += [words for words in done.damage if words]
            check_damage(damaged, evaluation.skip_damaged)
            for key, rows in done.rows.items():
                shelves[key].write(chunk, done, rows)
            counted.done(len(chunk.names), done.seconds)
    finally:
        report(counted.words())


def _index(evaluation: Evaluation, shelves: Mapping[str, Shelf]) -> Index:
    return Index(
        data=str(evaluation.photos.root),
        photos=len(evaluation.photos.files),
        chunks=chunk_count(evaluation.photos),
        reference=evaluation.reference.name,
        bundles={one.name: shelves[one.delivery.sha256].folder.name for one in evaluation.members},
    )


def check_damage(damaged: Sequence[str], most: int) -> None:
    """Refuse to leave out more photos than were allowed.

    Raises:
        InputError: There are more; the message has the reason of the first one.
    """
    if len(damaged) <= most:
        return
    if most:
        raise InputError(
            f"more than {most} photos cannot be read, as {parameter('skip_damaged')} allows; one of them: {damaged[0]}"
        )
    raise InputError(f"{damaged[0]}, or leave out a number of such photos with {parameter('skip_damaged')}")


class _Progress:
    """How far an evaluation is.

    Args:
        total: The number of photos.
        threads: The number of the workers' threads when it began.
        tell: A function that is told one line.
    """

    def __init__(self, total: int, threads: int, tell: Report) -> None:
        self._total, self._threads, self._tell = total, threads, tell
        self._kept = self._done = 0
        self._busy = 0.0
        self._start = time.monotonic()

    def kept(self, photos: int) -> None:
        """Count photos whose parts were there already."""
        self._kept += photos

    def done(self, photos: int, seconds: float) -> None:
        """Count photos that were evaluated now, and the seconds for which a worker was busy with them."""
        self._done += photos
        self._busy += seconds
        passed = time.monotonic() - self._start
        left = self._total - self._kept - self._done
        self._tell(
            f"evaluate {self._kept + self._done}/{self._total} photos, {self._done / passed:.1f} photos/s, "
            f"{duration(left * passed / self._done)} left"
        )

    def words(self) -> str:
        """Return what was done in all."""
        passed = time.monotonic() - self._start
        kept = f", {self._kept} were done before" if self._kept else ""
        speed = ""
        if self._done:
            busy = 100 * self._busy / passed / self._threads
            speed = f" in {duration(passed)}, {self._done / passed:.1f} photos/s, workers busy {busy:.0f} % of the time"
        left = self._total - self._kept - self._done
        missing = f"; {left} are missing, and the same command goes on" if left else ""
        return f"evaluate   {self._done} photos{speed}{kept}{missing}"


def duration(seconds: float) -> str:
    """Return a duration such as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _files(bundle: Bundle) -> dict[str, bytes]:
    return {name: (bundle.root / name).read_bytes() for name in (MANIFEST, *bundle.manifest.files)}


def report_of(
    evaluation: Evaluation,
    shelves: Mapping[str, Shelf],
    budget: Budget,
    environment: dict[str, str],
    processors: tuple[str, ...],
    *,
    answers: bool,
) -> EvaluateReport:
    """Return the report of parts that are all there. Arguments are those of ``evaluate_on``.

    Raises:
        InputError: More photos are damaged than may be left out, or all of them.
    """
    count = chunk_count(evaluation.photos)
    damage = damage_of(list(shelves.values()), count)
    check_damage(damage.words, evaluation.skip_damaged)
    if not damage.readable.any():
        raise InputError(f"{evaluation.photos.root}: none of the photos can be read; the first: {damage.words[0]}")
    reference = tally_of(shelves[evaluation.reference.delivery.sha256], count, damage.readable)
    bundles = []
    for member in evaluation.members:
        own = member is evaluation.reference
        tally = reference if own else tally_of(shelves[member.delivery.sha256], count, damage.readable)
        against = None if own else _against(evaluation, tally, reference, budget)
        version = environment.get(member.package) or importlib.metadata.version(member.package)
        bundles.append(
            EvaluatedBundle(
                **_identity(member, f"{member.package} {version}"),
                **_scores(evaluation, tally, damage, answers=answers),
                against=against,
            )
        )
    return EvaluateReport(
        xedge_version=__version__,
        data=str(evaluation.photos.root),
        photos=int(damage.readable.sum()),
        photos_sha256=damage.photos_sha256,
        damaged=damage.words,
        left_out=evaluation.photos.left_out,
        reference=evaluation.reference.name,
        max_drop_points=budget.max_drop_points,
        min_agreement=budget.min_agreement,
        environment=environment,
        processors=processors,
        bundles=tuple(bundles),
    )


def _identity(member: Member, runtime: str) -> dict[str, Any]:
    manifest = member.bundle.manifest
    return {
        "bundle": member.name,
        "target": manifest.target,
        "precision": manifest.precision,
        "artifact_bytes": member.bundle.artifact_bytes,
        "weights_sha256": manifest.model.weights_sha256,
        "runtime": runtime,
    }


def _scores(evaluation: Evaluation, tally: Tally, damage: Damage, *, answers: bool) -> dict[str, Any]:
    if evaluation.truth is None:
        return {"accuracy": None, "top5_interval95": None, "confusion": None, "answers": None}
    labels = labels_of(evaluation)
    return {
        "accuracy": tally.accuracy(len(labels)),
        "top5_interval95": tally.top5_interval(len(labels)),
        "confusion": tally.confusion(labels),
        "answers": tally.answers(labels, _names(evaluation, damage), damage.photos_sha256) if answers else None,
    }


def _names(evaluation: Evaluation, damage: Damage) -> tuple[str, ...]:
    """Return the names of the photos that count."""
    photos = evaluation.photos
    return tuple(photos.name_of(one) for one, good in zip(photos.files, damage.readable, strict=True) if good)


def labels_of(evaluation: Evaluation) -> tuple[str, ...]:
    """Return the names of the classes: those of the bundles, or those of the photos where no bundle knows them."""
    known = any(one.bundle.manifest.labels_known for one in evaluation.members)
    return evaluation.members[0].bundle.labels if known or not evaluation.photos.classes else evaluation.photos.classes


def _against(evaluation: Evaluation, tally: Tally, reference: Tally, budget: Budget) -> Against:
    labelled = evaluation.truth is not None
    lost = tally.drop(reference) if labelled else None
    same = tally.agreement()
    needed = None
    if lost is not None and budget.max_drop_points is not None:
        needed = photos_to_prove(lost.lost, lost.won, len(tally.truth), budget.max_drop_points)
    return Against(
        agreement=same,
        total_variation95=tally.total_variation95(),
        drop=lost,
        classes=tally.class_drops(reference, labels_of(evaluation)) if labelled else (),
        photos_to_prove=needed,
        verdict=judged_by(budget, same, lost).verdict if budget.demands else None,
    )
