"""Count over all parts: the same sums in the same order, whichever worker computed which part and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from xedge.evaluating.parts import Part, Shelf
from xedge.evaluating.report import ClassDrop
from xedge.metrics import (
    Accuracy,
    Agreement,
    Answers,
    Confusion,
    Differences,
    Drop,
    accuracy_of,
    agreement_of,
    confusion,
    drop_of_answers,
    holm,
    mcnemar,
    mean_share95,
    wilson,
)
from xedge.photos.sets import digest_of
from xedge.types import BoolArray, FloatArray, IntArray, Tensor

_FIGURES = ("same", "total_variation", "max_difference", "noise", "signal")


@dataclass(frozen=True, kw_only=True, eq=False)
class Damage:
    """Which photos count.

    Args:
        readable: Whether each photo (N,) of the set could be read for every bundle.
        words: Why each of the others could not.
        photos_sha256: The sha256 over the bytes of those that could, in any order.
    """

    readable: BoolArray
    words: tuple[str, ...]
    photos_sha256: str


def damage_of(shelves: Sequence[Shelf], count: int) -> Damage:
    """Return which photos count: those that could be read and prepared for every bundle.

    Args:
        shelves: The parts of each bundle.
        count: The number of chunks.
    """
    readable: list[BoolArray] = []
    words: list[str] = []
    hashes = bytearray()
    for index in range(count):
        first, *others = [shelf.damage(index) for shelf in shelves]
        damage = [
            next((word for word in of_photo if word), "")
            for of_photo in zip(first.words, *(o.words for o in others), strict=True)
        ]
        words += [word for word in damage if word]
        hashes += b"".join(digest for digest, word in zip(first.sha256, damage, strict=True) if not word)
        readable.append(np.array([not word for word in damage], bool))
    return Damage(readable=np.concatenate(readable), words=tuple(words), photos_sha256=digest_of([bytes(hashes)]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """What a bundle answered to the photos that count.

    Args:
        truth: The index (N,) of the true class; -1 without labels.
        first: The index (N,) of the most probable class.
        among_five: Whether the true class is among the five most probable ones (N,).
        probability: The probability (N,) of the most probable class, 0 to 1.
        differences: How far the probabilities are from those of the reference.
    """

    truth: IntArray
    first: IntArray
    among_five: BoolArray
    probability: FloatArray
    differences: Differences

    def accuracy(self, classes: int) -> Accuracy:
        """Return the accuracy of a model of so many classes."""
        return accuracy_of(self.first == self.truth, self.among_five if classes > 5 else None)

    def top5_interval(self, classes: int) -> tuple[float, float] | None:
        """Return the 95 % Wilson interval of the top-5 accuracy; None below six classes."""
        return wilson(int(self.among_five.sum()), len(self.truth)) if classes > 5 else None

    def confusion(self, labels: Sequence[str]) -> Confusion:
        """Return what was answered to the photos of each class."""
        return confusion(self.first, self.truth, labels)

    def agreement(self) -> Agreement:
        """Return how close the probabilities are to those of the reference."""
        return agreement_of(self.differences)

    def total_variation95(self) -> tuple[float, float] | None:
        """Return the 95 % interval of the mean total variation distance; None for a single photo."""
        return mean_share95(self.differences.total_variation.tolist())

    def drop(self, reference: Tally) -> Drop:
        """Return the drop of the top-1 accuracy against the reference."""
        return drop_of_answers(self.first, reference.first, self.truth)

    def class_drops(self, reference: Tally, labels: Sequence[str]) -> tuple[ClassDrop, ...]:
        """Return what was lost in each class that has photos."""
        before, after = reference.first == self.truth, self.first == self.truth
        lost = np.bincount(self.truth[before & ~after], minlength=len(labels))
        won = np.bincount(self.truth[after & ~before], minlength=len(labels))
        indices = [int(index) for index in np.unique(self.truth)]
        alone = [mcnemar(int(lost[index]), int(won[index])) for index in indices]
        return tuple(
            ClassDrop(
                index=index,
                label=labels[index],
                lost=int(lost[index]),
                won=int(won[index]),
                mcnemar_p=one,
                holm_p=adjusted,
            )
            for index, one, adjusted in zip(indices, alone, holm(alone), strict=True)
        )

    def answers(self, labels: tuple[str, ...], names: tuple[str, ...], photos_sha256: str) -> Answers:
        """Return the answer to each photo.

        Args:
            labels: The names of the classes.
            names: The names of the photos that count.
            photos_sha256: The sha256 over their bytes.
        """
        return Answers(
            photos_sha256=photos_sha256,
            labels=labels,
            photos=names,
            truth=tuple(self.truth.tolist()),
            first=tuple(self.first.tolist()),
            probability=tuple(round(one, 6) for one in self.probability.tolist()),
        )


def tally_of(shelf: Shelf, count: int, readable: BoolArray) -> Tally:
    """Return what a bundle answered to the photos that count.

    Args:
        shelf: The parts of the bundle.
        count: The number of chunks.
        readable: Whether each photo (N,) counts.
    """
    columns: list[Tensor] = []
    done = taken = 0
    for pieces in _pieces(shelf.all(count)):
        counts = readable[done : done + len(pieces[0])]
        if not columns:  # Filled part by part: pieces to put together would take the memory twice.
            columns = [np.empty(int(readable.sum()), piece.dtype) for piece in pieces]
        for column, piece in zip(columns, pieces, strict=True):
            column[taken : taken + int(counts.sum())] = piece[counts]
        done, taken = done + len(counts), taken + int(counts.sum())
    truth, first, among_five, probability, *figures = columns
    return Tally(
        truth=truth,
        first=first,
        among_five=among_five,
        probability=probability,
        differences=Differences(**dict(zip(_FIGURES, figures, strict=True))),
    )


def _pieces(parts: Iterator[Part]) -> Iterator[tuple[Tensor, ...]]:
    """Yield the columns of a tally from each part; of its five classes only what is counted is kept."""
    for part in parts:
        rows = part.rows
        among_five = (rows.top == part.truth[:, None]).any(1)
        figures = (getattr(rows, name) for name in _FIGURES)
        yield part.truth, rows.top[:, 0].copy(), among_five, rows.probability[:, 0].copy(), *figures
