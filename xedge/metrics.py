"""Accuracy figures of a classifier, with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import mean, stdev

import numpy as np

from xedge.types import FloatArray, IntArray


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How often the first and the first five classes hold the truth.

    Args:
        photos: how many were looked at.
        top1, top5: shares of them, 0 to 1; ``top5`` is None below six classes, where it says nothing.
        interval95: the 95 % Wilson interval of top1.
        per_class: class name to top1 among its photos.
        confusion: rows are the truth, columns the answer.
    """

    photos: int
    top1: float
    top5: float | None
    interval95: tuple[float, float]
    per_class: dict[str, float]
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What was answered to each photo, so that runs can be compared photo by photo later.

    Args:
        photos_sha256: over the photos' bytes; equal for equal photos, whatever their order.
        labels: of the classes.
        photos: the files, relative to the folder that was scored.
        truth, first: class index of each photo: what it shows, and what was answered.
        probability: of the answer, 0 to 1.
    """

    photos_sha256: str
    labels: tuple[str, ...]
    photos: tuple[str, ...]
    truth: tuple[int, ...]
    first: tuple[int, ...]
    probability: tuple[float, ...]

    def __post_init__(self) -> None:
        if {len(self.truth), len(self.first), len(self.probability)} != {len(self.photos)}:
            raise ValueError("photos, truth, first and probability are not of one length")
        if not all(0 <= index < len(self.labels) for index in (*self.truth, *self.first)):
            raise ValueError("truth or first is not the index of a label")


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How close an artifact's probabilities are to the float reference's.

    Args:
        photos: how many were compared.
        agreement: share with the same first class.
        interval95: the 95 % Wilson interval of it.
        total_variation: mean over photos of half the summed absolute differences, 0 to 1.
        max_difference: the greatest difference of one probability.
        logit_snr_db: signal-to-noise of the centred log-probabilities, in decibels; None if there is no noise.
    """

    photos: int
    agreement: float
    interval95: tuple[float, float]
    total_variation: float
    max_difference: float
    logit_snr_db: float | None


def accuracy(probabilities: FloatArray, truth: IntArray, labels: tuple[str, ...]) -> Accuracy:
    """Return the figures for probabilities (N, classes) and class indices (N,)."""
    classes = probabilities.shape[1]
    answer = probabilities.argmax(1)
    correct = answer == truth
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (truth, answer), 1)
    top5 = None
    if classes > 5:
        first5 = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
        top5 = float((first5 == truth[:, None]).any(1).mean())
    return Accuracy(
        photos=len(truth),
        top1=float(correct.mean()),
        top5=top5,
        interval95=wilson(int(correct.sum()), len(truth)),
        per_class={labels[c]: float(correct[truth == c].mean()) for c in np.unique(truth)},
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
    )


def agreement(probabilities: FloatArray, reference: FloatArray) -> Agreement:
    """Return how close probabilities (N, classes) are to the reference's."""
    same = probabilities.argmax(1) == reference.argmax(1)
    difference = np.abs(probabilities - reference)
    noise = centred_logits(probabilities) - centred_logits(reference)
    power = float((noise**2).sum())
    signal = float((centred_logits(reference) ** 2).sum())
    return Agreement(
        photos=len(same),
        agreement=float(same.mean()),
        interval95=wilson(int(same.sum()), len(same)),
        total_variation=float(difference.sum(1).mean() / 2),
        max_difference=float(difference.max()),
        logit_snr_db=float(10 * np.log10(signal / power)) if power > 0 and signal > 0 else None,
    )


def centred_logits(probabilities: FloatArray) -> FloatArray:
    """Return log-probabilities minus their mean over classes: logits, whatever constant was added to them."""
    logits = np.log(np.maximum(probabilities, 1e-9))
    centred: FloatArray = logits - logits.mean(-1, keepdims=True)
    return centred


def softmax(logits: FloatArray) -> FloatArray:
    """Return probabilities over the last axis."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    result: FloatArray = exponentials / exponentials.sum(-1, keepdims=True)
    return result


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a share. Wilson, 1927, "Probable Inference"."""
    if not trials:
        return 0.0, 1.0
    z = 1.959964
    share = successes / trials
    scale = 1 / (1 + z**2 / trials)
    centre = scale * (share + z**2 / (2 * trials))
    half = scale * z * sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


# Two-sided 95 % points of Student's t for 1, 2, ... degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def mean95(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of two or more independent values, and its 95 % interval. Student, 1908.

    Beyond ten degrees of freedom the point is Abramowitz and Stegun's expansion 26.7.5, right to 0.001 there.
    """
    freedom, z = len(values) - 1, 1.959964
    if freedom <= len(STUDENT):
        t = STUDENT[freedom - 1]
    else:
        t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    middle, half = mean(values), t * stdev(values) / sqrt(len(values))
    return middle, middle - half, middle + half


@dataclass(frozen=True, kw_only=True)
class Drop:
    """What an artifact's top-1 lost against the float reference's on the same photos.

    Args:
        points: percentage points; negative where the artifact is better.
        interval95: of them, by bootstrap over the photos, which are paired.
        mcnemar_p: probability of so lopsided a change or more, if the artifact were as good; exact.
        lost, won: photos that only the reference, only the artifact has right.
    """

    points: float
    interval95: tuple[float, float]
    mcnemar_p: float
    lost: int
    won: int


RESAMPLES = 10_000


def drop(probabilities: FloatArray, reference: FloatArray, truth: IntArray) -> Drop:
    """Return what was lost, for probabilities (N, classes) of both and class indices (N,)."""
    return drop_of_answers(probabilities.argmax(1), reference.argmax(1), truth)


def drop_of_answers(answers: IntArray, reference: IntArray, truth: IntArray) -> Drop:
    """Return what was lost, for the answered classes (N,) of both and the true ones (N,).

    The bootstrap draws whole photos (Efron and Tibshirani, 1993, chapter 13): the number of photos lost and won among
    N drawn with replacement is multinomial. Its seed is fixed.
    """
    before, after = reference == truth, answers == truth
    lost, won, photos = int((before & ~after).sum()), int((after & ~before).sum()), len(truth)
    shares = [lost / photos, won / photos, 1 - (lost + won) / photos]
    drawn = np.random.default_rng(0).multinomial(photos, shares, RESAMPLES)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / photos, [0.025, 0.975])
    return Drop(
        points=100 * (lost - won) / photos,
        interval95=(100 * float(low), 100 * float(high)),
        mcnemar_p=mcnemar(lost, won),
        lost=lost,
        won=won,
    )


def mcnemar(lost: int, won: int) -> float:
    """Return the two-sided exact p-value of McNemar's test. McNemar, 1947, with the binomial in place of chi-square."""
    changed = lost + won
    ways = sum(comb(changed, k) for k in range(min(lost, won) + 1))
    return min(1.0, float(2 * ways / 2**changed))
