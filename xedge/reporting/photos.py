"""The photos that quantization changed: what float answered, what the others answer, and what is to be seen."""

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
from xedge.photos.preprocess import open_photo
from xedge.reporting.gather import Entry

MOST = 24
SIZE = 112


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one run answered: its number on the page, the class, and its probability, 0 to 1."""

    number: int
    label: str
    probability: float
    right: bool


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A photo to which some run answers otherwise than the reference.

    Args:
        photo: the file's name in the folder that was scored.
        truth: what it shows.
        reference: what the reference answered.
        answers: those that differ.
        image: a small JPEG as a data URI; None where the photo cannot be found.
    """

    photo: str
    truth: str
    reference: Answer
    answers: tuple[Answer, ...]
    image: str | None

    @property
    def lost(self) -> bool:
        """Whether the reference was right and some other is not."""
        return self.reference.right


def changed_photos(reference: Entry, entries: Sequence[Entry], data: Path | None) -> tuple[list[Changed], int]:
    """Return the photos to show, those first that were right before, and how many there are.

    Args:
        reference: what the others are held against; scored.
        entries: all runs; those that were scored on the same photos count.
        data: where the photos lie now; None looks where they were scored.
    """
    ours = reference.run.answers
    assert ours is not None
    others = [entry for entry in entries if entry is not reference and _same_photos(entry.run.answers, ours)]
    told = {entry.number: dict(_answers(entry)) for entry in (reference, *others)}
    found = []
    for index, photo in enumerate(ours.photos):
        before = told[reference.number][photo]
        after = [told[entry.number][photo] for entry in others]
        different = tuple(one for one in after if one.label != before.label)
        if different:
            found.append((photo, ours.labels[ours.truth[index]], before, different))
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
    """Yield every photo's name and what a run answered to it."""
    answers = entry.run.answers
    assert answers is not None
    for photo, truth, first, probability in zip(
        answers.photos, answers.truth, answers.first, answers.probability, strict=True
    ):
        label = answers.labels[first]
        yield photo, Answer(number=entry.number, label=label, probability=probability, right=first == truth)


def _folder(reference: Entry, data: Path | None) -> Path | None:
    """Where the photos lie: as the user says, as the run says, or in the package."""
    known = [data, Path(reference.run.data) if reference.run.data is not None else None, embedded.test_photos().root]
    answers = reference.run.answers
    assert answers is not None
    return next((one for one in known if one is not None and (one / answers.photos[0]).is_file()), None)


def _thumbnail(folder: Path | None, photo: str) -> str | None:
    if folder is None or Path(photo).is_absolute() or ".." in Path(photo).parts:
        return None
    try:
        image = open_photo(folder / photo).convert("RGB")
    except InputError:
        return None
    image.thumbnail((SIZE * 2, SIZE * 2), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=70)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
