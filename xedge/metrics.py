"""Compute the accuracy of a classifier and the agreement between two of them, with their uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, comb, copysign, inf, sqrt
from statistics import mean, stdev

import numpy as np

from xedge.types import BoolArray, DoubleArray, FloatArray, IntArray
from xedge.vocabulary import OutputKind

# Shares are quotients of whole numbers, which documents hold in decimals.
ROUNDING = 1e-9
# The 97.5 % and 80 % points of the normal distribution.
Z_95, _POWER_80 = 1.959964, 0.841621


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The top-1 and top-5 accuracy of a classifier.

    Args:
        photos: The number of photos that were scored.
        top1: The share of photos whose true class is the most probable one, 0 to 1.
        top5: The share of photos whose true class is among the five most probable ones, 0 to 1; None below six classes,
            where it says nothing.
        interval95: The 95 % Wilson interval of ``top1``.
    """

    photos: int
    top1: float
    top5: float | None
    interval95: tuple[float, float]

    def __post_init__(self) -> None:
        low, high = self.interval95
        if self.photos < 1 or not 0 <= low <= self.top1 + ROUNDING <= high + 2 * ROUNDING <= 1 + 4 * ROUNDING:
            raise ValueError("photos, top1 and interval95 contradict each other")
        if self.top5 is not None and not self.top1 <= self.top5 <= 1:
            raise ValueError("top5 is not from top1 to 1")


@dataclass(frozen=True, kw_only=True)
class ClassAccuracy:
    """The top-1 accuracy of a classifier among the photos of one class.

    Args:
        index: The index of the class among the outputs.
        label: The name of the class.
        photos: The number of photos of the class.
        top1: The share of these photos whose true class is the most probable one, 0 to 1.
    """

    index: int
    label: str
    photos: int
    top1: float


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """What a classifier answered to the photos of each class; it holds nothing for classes without photos.

    Args:
        classes: The classes that have photos, in the order of the outputs.
        cells: The cells of the confusion matrix that are not zero, in the order of the matrix: the index of the true
            class, the index of the answer, and the number of photos.
    """

    classes: tuple[ClassAccuracy, ...]
    cells: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        photos: dict[int, int] = {}
        right: dict[int, int] = {}
        for true, answer, count in self.cells:
            if count < 1 or true < 0 or answer < 0:
                raise ValueError("a cell needs two classes and at least one photo")
            photos[true] = photos.get(true, 0) + count
            right[true] = right.get(true, 0) + (count if true == answer else 0)
        if len({(true, answer) for true, answer, _ in self.cells}) != len(self.cells):
            raise ValueError("two cells are of the same classes")
        if photos != {one.index: one.photos for one in self.classes} or len(photos) != len(self.classes):
            raise ValueError("classes and cells contradict each other in the number of photos")
        if any(abs(one.top1 - right[one.index] / one.photos) > ROUNDING for one in self.classes):
            raise ValueError("classes and cells contradict each other in the accuracy")

    @property
    def photos(self) -> int:
        """The number of photos."""
        return sum(count for _, _, count in self.cells)

    @property
    def right(self) -> int:
        """The number of photos whose answer is the true class."""
        return sum(count for true, answer, count in self.cells if true == answer)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answer to each photo, kept so that runs can be compared photo by photo later.

    Args:
        photos_sha256: The sha256 over the bytes of the photos, which does not depend on their order.
        labels: The names of the classes.
        photos: The paths of the photos, relative to the folder that was scored.
        truth: The index of the true class of each photo.
        first: The index of the top-1 class of each photo, which is the answer.
        probability: The probability of the answer to each photo, 0 to 1.
    """

    photos_sha256: str
    labels: tuple[str, ...]
    photos: tuple[str, ...]
    truth: tuple[int, ...]
    first: tuple[int, ...]
    probability: tuple[float, ...]

    def __post_init__(self) -> None:
        if {len(self.truth), len(self.first), len(self.probability)} != {len(self.photos)}:
            raise ValueError("photos, truth, first and probability must have the same length")
        if not all(0 <= index < len(self.labels) for index in (*self.truth, *self.first)):
            raise ValueError("every value of truth and first must be the index of a label")

    @property
    def right(self) -> int:
        """The number of photos whose answer is the true class."""
        return sum(true == first for true, first in zip(self.truth, self.first, strict=True))


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How close an artifact's probabilities are to those of a reference, which is the float reference by default.

    Args:
        photos: The number of photos that were compared.
        agreement: The share of photos with the same top-1 class, 0 to 1.
        interval95: The 95 % Wilson interval of ``agreement``.
        total_variation: The total variation distance, which is half the sum of the absolute differences of the
            probabilities, averaged over the photos, 0 to 1.
        max_difference: The greatest absolute difference of one probability.
        logit_snr_db: The signal-to-noise ratio of the centred log-probabilities in decibels; None if there is no noise.
    """

    photos: int
    agreement: float
    interval95: tuple[float, float]
    total_variation: float
    max_difference: float
    logit_snr_db: float | None

    def __post_init__(self) -> None:
        low, high = self.interval95
        if self.photos < 1 or not 0 <= low <= self.agreement + ROUNDING <= high + 2 * ROUNDING <= 1 + 4 * ROUNDING:
            raise ValueError("photos, agreement and interval95 contradict each other")


def accuracy(probabilities: FloatArray, truth: IntArray) -> Accuracy:
    """Return the accuracy of a classifier.

    Args:
        probabilities: The probabilities (N, classes) that the classifier gave.
        truth: The indices (N,) of the true classes.
    """
    many = probabilities.shape[1] > 5
    among_five = ranks(probabilities, truth) < 5 if many else None
    return accuracy_of(probabilities.argmax(1) == truth, among_five)


def accuracy_of(correct: BoolArray, among_five: BoolArray | None) -> Accuracy:
    """Return the accuracy of a classifier from what became of each photo.

    Args:
        correct: Whether the true class is the most probable one, for each photo (N,).
        among_five: Whether it is among the five most probable ones (N,); None below six classes.
    """
    return Accuracy(
        photos=len(correct),
        top1=float(correct.mean()),
        top5=float(among_five.mean()) if among_five is not None else None,
        interval95=wilson(int(correct.sum()), len(correct)),
    )


def most_probable(probabilities: FloatArray, count: int) -> IntArray:
    """Return the indices of the most probable classes, best first; of equal ones, the first in the order of outputs.

    Args:
        probabilities: The probabilities (classes,).
        count: The number of classes to return; fewer are returned if there are not so many.
    """
    return np.asarray(np.argsort(-probabilities, kind="stable")[:count])


def ranks(probabilities: FloatArray, truth: IntArray) -> IntArray:
    """Return how many classes come before the true class of each photo (N,), the most probable classes first.

    Of classes with the same probability, the one with the lower index comes first.

    Args:
        probabilities: The probabilities (N, classes) that a classifier gave.
        truth: The indices (N,) of the true classes.
    """
    own = np.take_along_axis(probabilities, truth[:, None], axis=1)
    lower = np.arange(probabilities.shape[1]) < truth[:, None]
    before: IntArray = ((probabilities > own) | ((probabilities == own) & lower)).sum(1)
    return before


def confusion(answers: IntArray, truth: IntArray, labels: Sequence[str]) -> Confusion:
    """Return what a classifier answered to the photos of each class.

    Time and size grow with the number of photos, not with the square of the number of classes.

    Args:
        answers: The indices (N,) of the classes that the classifier answered.
        truth: The indices (N,) of the true classes.
        labels: The names of the classes.
    """
    pairs, counts = np.unique(truth * len(labels) + answers, return_counts=True)
    cells = tuple((*divmod(int(pair), len(labels)), int(count)) for pair, count in zip(pairs, counts, strict=True))
    right = {true: count for true, answer, count in cells if true == answer}
    classes = tuple(
        ClassAccuracy(
            index=int(index), label=labels[index], photos=int(photos), top1=right.get(int(index), 0) / int(photos)
        )
        for index, photos in zip(*np.unique(truth, return_counts=True), strict=True)
    )
    return Confusion(classes=classes, cells=cells)


@dataclass(frozen=True, kw_only=True, eq=False)
class Differences:
    """How far probabilities are from those of a reference, photo by photo: what ``Agreement`` is made of.

    Args:
        same: Whether the top-1 class is the same, for each photo (N,).
        total_variation: The total variation distance (N,) float64, 0 to 1.
        max_difference: The greatest absolute difference of one probability (N,) float64, 0 to 1.
        noise: The sum of the squared differences of the centred log-probabilities (N,) float64.
        signal: The sum of the squared centred log-probabilities of the reference (N,) float64.
    """

    same: BoolArray
    total_variation: DoubleArray
    max_difference: DoubleArray
    noise: DoubleArray
    signal: DoubleArray


def differences(probabilities: FloatArray, reference: FloatArray) -> Differences:
    """Return how far probabilities are from those of a reference, photo by photo.

    Args:
        probabilities: The probabilities (N, classes) to compare.
        reference: The probabilities (N, classes) of the reference for the same photos.
    """
    difference = np.abs(probabilities - reference)
    logits = centred_logits(reference)
    return Differences(
        same=probabilities.argmax(1) == reference.argmax(1),
        total_variation=difference.sum(1).astype(np.float64) / 2,
        max_difference=difference.max(1).astype(np.float64),
        noise=((centred_logits(probabilities) - logits) ** 2).sum(1).astype(np.float64),
        signal=(logits**2).sum(1).astype(np.float64),
    )


def agreement(probabilities: FloatArray, reference: FloatArray) -> Agreement:
    """Return how close probabilities are to those of a reference; arguments are those of ``differences``."""
    return agreement_of(differences(probabilities, reference))


def agreement_of(found: Differences) -> Agreement:
    """Return the agreement over all photos from what was found for each of them."""
    power, signal = float(found.noise.sum()), float(found.signal.sum())
    return Agreement(
        photos=len(found.same),
        agreement=float(found.same.mean()),
        interval95=wilson(int(found.same.sum()), len(found.same)),
        total_variation=float(found.total_variation.mean()),
        max_difference=float(found.max_difference.max()),
        logit_snr_db=float(10 * np.log10(signal / power)) if power > 0 and signal > 0 else None,
    )


def centred_logits(probabilities: FloatArray) -> FloatArray:
    """Return log-probabilities minus their mean over the classes, which are the logits up to an additive constant."""
    logits = np.log(np.maximum(probabilities, 1e-9))
    centred: FloatArray = logits - logits.mean(-1, keepdims=True)
    return centred


def class_probabilities(outputs: FloatArray, kind: OutputKind) -> FloatArray:
    """Return probabilities (..., classes) of a model's outputs (..., width).

    Args:
        outputs: What the model gives.
        kind: What that is. One value stands for the second of two classes.
    """
    if kind == "probabilities":
        return outputs
    if kind == "probability":
        return np.concatenate([1 - outputs, outputs], axis=-1)
    return softmax(centred_outputs(outputs, kind))


def centred_outputs(outputs: FloatArray, kind: OutputKind) -> FloatArray:
    """Return the logits (..., classes) of a model's outputs (..., width) minus their mean over the classes.

    Arguments are those of ``class_probabilities``. Probabilities below 1e-9 count as 1e-9.
    """
    if kind in ("probabilities", "probability"):
        return centred_logits(class_probabilities(outputs, kind))
    if kind == "logit":
        outputs = np.concatenate([-outputs, outputs], axis=-1) / np.float32(2)
    centred: FloatArray = outputs - outputs.mean(-1, keepdims=True)
    return centred


def softmax(logits: FloatArray) -> FloatArray:
    """Return the softmax of logits over the last axis."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    result: FloatArray = exponentials / exponentials.sum(-1, keepdims=True)
    return result


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share (Wilson, 1927, "Probable Inference").

    Args:
        successes: The number of successes.
        trials: The number of trials; without any, the interval is 0 to 1.
    """
    if not trials:
        return 0.0, 1.0
    z = Z_95
    share = successes / trials
    scale = 1 / (1 + z**2 / trials)
    centre = scale * (share + z**2 / (2 * trials))
    half = scale * z * sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


# Two-sided 95 % points of Student's t for 1, 2, ... degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def mean95(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of two or more independent values, and the bounds of its 95 % interval (Student, 1908).

    Beyond ten degrees of freedom, the percentage point of Student's t is computed with Abramowitz and Stegun's
    expansion 26.7.5, which is accurate to 0.001 there.
    """
    freedom, z = len(values) - 1, Z_95
    if freedom <= len(STUDENT):
        t = STUDENT[freedom - 1]
    else:
        t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    middle, half = mean(values), t * stdev(values) / sqrt(len(values))
    return middle, middle - half, middle + half


def mean_share95(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean of shares, each 0 to 1, by ``mean95``; None for a single one."""
    if len(values) < 2:
        return None
    _, low, high = mean95(values)
    return max(0.0, low), min(1.0, high)


@dataclass(frozen=True, kw_only=True)
class Drop:
    """The top-1 accuracy that an artifact lost against the float reference on the same photos.

    Args:
        points: The drop in percentage points; negative if the artifact is better than the reference.
        interval95: The 95 % interval of ``points``, by ``paired_interval``.
        mcnemar_p: The p-value of McNemar's exact test: the probability of a change that is at least as one-sided if the
            artifact were as accurate as the reference.
        lost: The number of photos that only the reference classifies correctly.
        won: The number of photos that only the artifact classifies correctly.
    """

    points: float
    interval95: tuple[float, float]
    mcnemar_p: float
    lost: int
    won: int


def drop(probabilities: FloatArray, reference: FloatArray, truth: IntArray) -> Drop:
    """Return the drop of an artifact's top-1 accuracy.

    Args:
        probabilities: The probabilities (N, classes) of the artifact.
        reference: The probabilities (N, classes) of the reference.
        truth: The indices (N,) of the true classes.
    """
    return drop_of_answers(probabilities.argmax(1), reference.argmax(1), truth)


def drop_of_answers(answers: IntArray, reference: IntArray, truth: IntArray) -> Drop:
    """Return the drop of an artifact's top-1 accuracy from the classes that it answered.

    Args:
        answers: The indices (N,) of the classes that the artifact answered.
        reference: The indices (N,) of the classes that the reference answered.
        truth: The indices (N,) of the true classes.
    """
    before, after = reference == truth, answers == truth
    lost, won, photos = int((before & ~after).sum()), int((after & ~before).sum()), len(truth)
    low, high = paired_interval(lost, won, photos)
    return Drop(
        points=100 * (lost - won) / photos,
        interval95=(100 * low, 100 * high),
        mcnemar_p=mcnemar(lost, won),
        lost=lost,
        won=won,
    )


def paired_interval(lost: int, won: int, photos: int) -> tuple[float, float]:
    """Return the bounds of the 95 % interval of the share of photos lost minus the share of photos won.

    This is the score interval for paired proportions (Tango, 1998). It keeps its width where no photo changed, unlike a
    bootstrap, which draws no photo that was not seen: of 372 photos without a change, the drop is below 1.02 points.

    Args:
        lost: The number of photos that only the reference classifies correctly.
        won: The number of photos that only the artifact classifies correctly.
        photos: The number of all photos.
    """

    def score(share: float) -> float:
        """Return how many standard errors the difference that was seen lies above a share; it falls with the share."""
        linear = (2 * photos - lost + won) * share - lost - won
        rest = won * share * (1 - share)
        won_share = (sqrt(max(0.0, linear**2 + 8 * photos * rest)) - linear) / (4 * photos)
        variance = photos * (2 * won_share + share * (1 - share))
        above = lost - won - photos * share
        return above / sqrt(variance) if variance > 0 else copysign(inf, above) if above else 0.0

    return _root(score, Z_95), _root(score, -Z_95)


def _root(falling: Callable[[float], float], value: float) -> float:
    """Return where between -1 and 1 a falling function reaches a value, by bisection."""
    low, high = -1.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > value else (low, middle)
    return (low + high) / 2


def mcnemar(lost: int, won: int) -> float:
    """Return the two-sided p-value of McNemar's exact test.

    McNemar, 1947, with the binomial distribution in place of chi-square.

    Args:
        lost: The number of photos that only the reference classifies correctly.
        won: The number of photos that only the artifact classifies correctly.
    """
    changed = lost + won
    ways = sum(comb(changed, k) for k in range(min(lost, won) + 1))
    return min(1.0, float(2 * ways / 2**changed))


def photos_to_prove(lost: int, won: int, photos: int, max_drop_points: float) -> int | None:
    """Return on how many photos a drop below a limit would be proved, judging by the photos that were seen.

    So many photos put the whole 95 % interval of the drop below the limit with a chance of 80 % (the sample size for
    paired proportions; Connor, 1987). Half a photo is added to each cell of the table, so that few changed photos are
    not taken for none (Agresti and Min, 2005).

    Args:
        lost: The number of photos that only the reference classifies correctly.
        won: The number of photos that only the artifact classifies correctly.
        photos: The number of photos that were seen.
        max_drop_points: The limit in percentage points.

    Returns:
        The number of photos; None if the drop that was seen is not below the limit.
    """
    worse, better = (lost + 0.5) / (photos + 2), (won + 0.5) / (photos + 2)
    margin = max_drop_points / 100 - (worse - better)
    if margin <= 0:
        return None
    variance = worse + better - (worse - better) ** 2
    return ceil((Z_95 + _POWER_80) ** 2 * variance / margin**2)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values adjusted for their number, so that a class stands out by chance in 5 % of evaluations at most.

    Holm, 1979, "A simple sequentially rejective multiple test procedure".

    Args:
        p_values: The p-value of each comparison.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return tuple(adjusted)
