"""Build a wheel of the xedge that is running, for machines that cannot download one."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import zipfile
from collections.abc import Iterator
from pathlib import Path

from xedge._version import __version__

# A fixed time stamp makes the same files give the same bytes, so that an unchanged wheel is not sent again.
MOMENT = (1980, 1, 1, 0, 0, 0)
SKIPPED = ("__pycache__", ".pyc")


def write_wheel(folder: Path) -> Path:
    """Write the wheel into a folder and return its path."""
    name = f"xedge-{__version__}"
    path = folder / f"{name}-py3-none-any.whl"
    contents = dict(_package())
    about = f"{name}.dist-info"
    contents[f"{about}/METADATA"] = _metadata().encode()
    contents[f"{about}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: xedge\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    contents[f"{about}/entry_points.txt"] = b"[console_scripts]\nxedge = xedge.cli.main:main\n"
    record = [f"{file},{_hash(data)},{len(data)}" for file, data in contents.items()]
    contents[f"{about}/RECORD"] = "\n".join([*record, f"{about}/RECORD,,", ""]).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in contents.items():
            archive.writestr(zipfile.ZipInfo(file, MOMENT), data, zipfile.ZIP_DEFLATED)
    return path


def _metadata() -> str:
    """Return the metadata that pip needs: the version, the extras and the dependencies."""
    told = importlib.metadata.metadata("xedge")
    lines = ["Metadata-Version: 2.1"]
    for name in ("Name", "Version", "Requires-Python", "Provides-Extra", "Requires-Dist"):
        lines += [f"{name}: {value}" for value in told.get_all(name) or ()]
    return "\n".join([*lines, ""])


def _package() -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of the package's files; symbolic links in a checkout are followed."""
    root = Path(__file__).resolve().parents[1]
    for path in sorted(_below(root)):
        if not any(part.endswith(SKIPPED) for part in path.parts):
            yield f"xedge/{path.relative_to(root).as_posix()}", path.read_bytes()


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from _below(path)
        else:
            yield path


def _hash(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"
