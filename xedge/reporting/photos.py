"""Find the photos whose answer quantization changed: the answers of all runs, and a thumbnail."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from xedge.errors import InputError
from xedge.metrics import Answers
from xedge.models.compact import embedded
from xedge.photos.decoding import open_photo, with_eight_bits
from xedge.photos.labels import told_apart
from xedge.reporting.gather import Entry

MOST = 24
SIZE = 112


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer of one run to one photo.

    Args:
        number: The number of the run on the page.
        label: The name of the class that the run answered, told apart from other classes of the same name.
        probability: The probability of the answer, 0 to 1.
        right: Whether the answer is the true class.
    """

    number: int
    label: str
    probability: float
    right: bool


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A photo to which at least one run gives a different answer than the reference run.

    Args:
        photo: The path of the photo in the folder that was scored.
        truth: The name of the true class.
        reference: The answer of the reference run.
        answers: The answers of other runs that differ from it.
        image: A small JPEG as a data URI; None if the photo is not found.
    """

    photo: str
    truth: str
    reference: Answer
    answers: tuple[Answer, ...]
    image: str | None

    @property
    def lost(self) -> bool:
        """Whether the reference run was right, so that the other runs lost this photo."""
        return self.reference.right


def changed_photos(reference: Entry, entries: Sequence[Entry], data: Path | None) -> tuple[list[Changed], int]:
    """Return the photos to show, first those to which the reference run was right, and how many there are in total.

    Args:
        reference: The run with which the others are compared; it must have been scored.
        entries: All runs; only those that were scored on the same photos count.
        data: The folder in which the photos are now; None looks where they were scored.
    """
    ours = reference.run.answers
    assert ours is not None
    others = [entry for entry in entries if entry is not reference and _same_photos(entry.run.answers, ours)]
    told = {entry.number: dict(_answers(entry)) for entry in (reference, *others)}
    found, names = [], told_apart(ours.labels)
    for index, photo in enumerate(ours.photos):
        before = told[reference.number][photo]
        after = [told[entry.number][photo] for entry in others]
        different = tuple(one for one in after if one.label != before.label)
        if different:
            found.append((photo, names[ours.truth[index]], before, different))
    found.sort(key=lambda one: (not one[2].right, -len(one[3]), one[0]))
    folder = _folder(reference, data)
    shown = [
        Changed(photo=photo, truth=truth, reference=before, answers=after, image=_thumbnail(folder, photo))
        for photo, truth, before, after in found[:MOST]
    ]
    return shown, len(found)


def _same_photos(theirs: Answers | None, ours: Answers) -> bool:
    return theirs is not None and theirs.photos_sha256 == ours.photos_sha256 and set(theirs.photos) == set(ours.photos)


def _answers(entry: Entry) -> Iterator[tuple[str, Answer]]:
    """Yield the name of every photo and the answer of a run to it."""
    answers = entry.run.answers
    assert answers is not None
    names = told_apart(answers.labels)
    for photo, truth, first, probability in zip(
        answers.photos, answers.truth, answers.first, answers.probability, strict=True
    ):
        yield photo, Answer(number=entry.number, label=names[first], probability=probability, right=first == truth)


def _folder(reference: Entry, data: Path | None) -> Path | None:
    """Return the folder of the photos: the one that the user gave, the one of the run, or the one in the package."""
    known = [data, Path(reference.run.data) if reference.run.data is not None else None, embedded.test_photos().root]
    answers = reference.run.answers
    assert answers is not None
    return next((one for one in known if one is not None and (one / answers.photos[0]).is_file()), None)


def _thumbnail(folder: Path | None, photo: str) -> str | None:
    if folder is None or Path(photo).is_absolute() or ".." in Path(photo).parts:
        return None
    try:
        image = with_eight_bits(open_photo(folder / photo), "RGB")
    except InputError:
        return None
    image.thumbnail((SIZE * 2, SIZE * 2), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=70)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
