"""The kinds of cases. Each is a function that makes a case in a folder, drawn with a seed, and says what to run."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.campaign import hostile
from tests.campaign.material import CLASSES, SIZE, Material, mend
from tests.campaign.rule import Outcome, valid_json
from tests.campaign.running import Call
from xedge.bundle.reading import open_bundle


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a case is made.

    Args:
        work: The working folder of the command.
        material: What the case begins with; it is not to be changed.
    """

    work: Path
    material: Material

    def bundle(self, draw: random.Random, name: str = "bundle") -> Path:
        """Return a copy of one of the bundles."""
        return Path(shutil.copytree(draw.choice(self.material.bundles), self.work / name))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A case that is made.

    Args:
        call: What to run.
        signals: The signals that may end it.
        encoding: The encoding of what it writes.
        check: Looks at what else should hold, and says what does not.
    """

    call: Call
    signals: tuple[int, ...] = ()
    encoding: str = "utf-8"
    check: Callable[[Outcome], str | None] = lambda outcome: None


Maker = Callable[[Place, random.Random], Trial]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of cases.

    Args:
        name: Its name.
        share: How many of a thousand cases are of this kind.
        make: A function that makes one.
    """

    name: str
    share: int
    make: Maker


KINDS: dict[str, Kind] = {}


def kind(share: int) -> Callable[[Maker], Maker]:
    """Register the decorated function as a kind of which so many of a thousand cases are."""

    def register(make: Maker) -> Maker:
        KINDS[make.__name__] = Kind(name=make.__name__, share=share, make=make)
        return make

    return register


def reading(bundle: Path, place: Place, draw: random.Random) -> Call:
    """Return a command that reads a bundle."""
    photo = str(place.material.photos / CLASSES[0] / "0.png")
    data = ("--data", str(place.material.photos))
    words = draw.choice(
        (
            ("info", bundle.name),
            ("info", bundle.name, "--json"),
            ("predict", bundle.name, photo),
            ("predict", "--json", bundle.name, photo),
            ("run", bundle.name, "--runs", "3"),
            ("run", bundle.name, "--runs", "3", *data, "--json"),
            ("verify", bundle.name, *data),
            ("verify", bundle.name, str(place.material.bundles[0])),
            ("doctor", "--for", bundle.name),
            ("compare", bundle.name, str(place.material.bundles[0]), "--rounds", "1", "--runs", "2"),
            ("run", str(place.material.bundles[0]), "--runs", "3", "--against", bundle.name),
        )
    )
    return Call(words=words)


def _is_json(outcome: Outcome) -> str | None:
    return None if outcome.code or valid_json(outcome.out) else "the JSON is none"


@kind(200)
def manifests(place: Place, draw: random.Random) -> Trial:
    """A manifest with wrong values, or that is hardly JSON."""
    bundle = place.bundle(draw)
    path = bundle / "manifest.json"
    path.write_bytes(hostile.text(hostile.changed(json.loads(path.read_text()), draw), draw))
    return Trial(call=reading(bundle, place, draw))


@kind(120)
def files_of_bundles(place: Place, draw: random.Random) -> Trial:
    """A bundle in which a file is damaged, missing, added, or something else than a file."""
    bundle = place.bundle(draw)
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    path = draw.choice(files)
    way = draw.choice(("damage", "damage", "damage", "remove", "add", "folder", "pipe", "link", "closed"))
    if way == "damage":
        path.write_bytes(hostile.damaged(path.read_bytes(), draw))
        if draw.random() < 0.8 and path.name != "manifest.json":
            mend(bundle)
    elif way == "add":
        (bundle / draw.choice(("weights.bin", ".hidden", "golden/5.png", "a\x1b[31mb", "x/y/z"))).parent.mkdir(
            parents=True, exist_ok=True
        )
        (bundle / "weights.bin").write_bytes(b"x")
    elif way == "closed":
        path.chmod(0)
    else:
        path.unlink()
        if way == "folder":
            path.mkdir()
        elif way == "pipe":
            os.mkfifo(path)
        elif way == "link":
            path.symlink_to(draw.choice(("/etc/passwd", "/dev/zero", path.name, "/nowhere", "..")))
    return Trial(call=reading(bundle, place, draw))


@kind(60)
def artifacts(place: Place, draw: random.Random) -> Trial:
    """An artifact of which a few bits are flipped, with a hash that fits, which may crash a runtime."""
    bundle = place.bundle(draw)
    path = next(path for path in bundle.iterdir() if path.suffix in (".tflite", ".onnx", ".xml", ".bin"))
    path.write_bytes(hostile.flipped(path.read_bytes(), draw, draw.choice((1, 2, 4))))
    mend(bundle)
    return Trial(call=reading(bundle, place, draw))


@kind(40)
def swapped(place: Place, draw: random.Random) -> Trial:
    """A manifest of one bundle with the files of another one, all hashes fitting."""
    first, second = draw.sample(place.material.bundles, 2)
    bundle = Path(shutil.copytree(first, place.work / "bundle"))
    data = json.loads((bundle / "manifest.json").read_text())
    other = json.loads((second / "manifest.json").read_text())
    keys = draw.sample(sorted(data), draw.randrange(1, 4))
    for key in keys:
        data[key] = other[key]
    if draw.random() < 0.5:
        for path in bundle.iterdir():
            if path.name.startswith("tiny"):
                source = next(iter(sorted(second.glob("tiny*"))))
                path.write_bytes(source.read_bytes())
    (bundle / "manifest.json").write_text(json.dumps(data))
    mend(bundle)
    return Trial(call=reading(bundle, place, draw))


@kind(60)
def zips(place: Place, draw: random.Random) -> Trial:
    """A zip that is damaged, or whose members have odd names, kinds and sizes."""
    path = place.work / "bundle.zip"
    way = draw.choice(("damage", "damage", "names", "names", "encrypted", "twice", "two", "none", "link", "method"))
    if way == "damage":
        path.write_bytes(hostile.damaged(place.material.zip.read_bytes(), draw))
        return Trial(call=reading(path, place, draw))
    with zipfile.ZipFile(place.material.zip) as archive, zipfile.ZipFile(path, "w") as made:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            if way == "method":
                info.compress_type = draw.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED))
            made.writestr(info, data)
        if way == "names":
            name = draw.choice(
                ("../outside.txt", "/outside.txt", "a/../../outside", "a\\..\\..\\b", "x\x1b[31m", "..", ".")
            )
            made.writestr(zipfile.ZipInfo(name), b"x")
        elif way == "twice":
            import warnings

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made.writestr(next(iter(members)), b"other")
        elif way == "two":
            for name, data in members.items():
                made.writestr(f"second/{name.split('/', 1)[1]}", data)
        elif way == "link":
            info = zipfile.ZipInfo("zipped/link")
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            made.writestr(info, "/etc/passwd")
    if way == "encrypted":
        whole = bytearray(path.read_bytes())
        at = whole.find(b"PK\x01\x02")
        while at >= 0:
            whole[at + 8] |= 1
            at = whole.find(b"PK\x01\x02", at + 4)
        path.write_bytes(whole)
    elif way == "none":
        path.write_bytes(draw.choice((b"", b"PK\x05\x06" + bytes(18), b"PK\x03\x04" + bytes(40), b"#!/bin/sh")))
    return Trial(call=reading(path, place, draw))


@kind(120)
def documents(place: Place, draw: random.Random) -> Trial:
    """A document of xedge's own with wrong values, or that is hardly JSON."""
    source = draw.choice(place.material.documents)
    path = place.work / "one.json"
    path.write_bytes(hostile.text(hostile.changed(json.loads(source.read_text()), draw), draw))
    other = str(place.material.root / "documents" / "run.json")
    words = draw.choice(
        (
            ("report", path.name, "-o", "page.html"),
            ("report", path.name, other, "-o", "page.html"),
            ("compare", path.name, other),
            ("compare", path.name, other, "--json"),
            ("compare", other, path.name, "--markdown"),
        )
    )

    def page(outcome: Outcome) -> str | None:
        written = place.work / "page.html"
        if not written.exists():
            return None if outcome.code else ("no page" if words[0] == "report" else None)
        text = written.read_text("utf-8")
        return "a script in the page" if "<script" in text.lower() else None

    return Trial(call=Call(words=words), check=page)


SUFFIXES = (".png", ".jpg", ".webp", ".gif", ".bmp", ".tif", ".ppm", ".jp2", ".ico", ".tga", ".avif", ".pcx")


def _photo(draw: random.Random, suffix: str) -> bytes:
    """Return a photo of any mode that the format can hold."""
    pixels = np.random.default_rng(draw.randrange(1 << 30)).integers(0, 256, (SIZE, SIZE + 3, 4)).astype(np.uint8)
    modes = [
        Image.fromarray(pixels[..., :3]),
        Image.fromarray(pixels),
        Image.fromarray(pixels[..., 0]),
        Image.fromarray(pixels[..., :3]).convert("P"),
        Image.fromarray(pixels[..., 0]).convert("1"),
        Image.fromarray(pixels[..., :3]).convert("CMYK"),
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 257),
        Image.fromarray(pixels[..., 0].astype(np.int32) * 70_000),
        Image.fromarray(pixels[..., 0].astype(np.float32) / 255),
        Image.fromarray(pixels[..., :3]).convert("LAB"),
        Image.fromarray(pixels[..., :3]).convert("YCbCr"),
        Image.fromarray(pixels[..., :2]),
    ]
    draw.shuffle(modes)
    for image in modes:
        buffer = io.BytesIO()
        try:
            image.save(buffer, Image.registered_extensions()[suffix])
        except (OSError, ValueError, KeyError):
            continue
        return buffer.getvalue()
    raise AssertionError(suffix)


@kind(110)
def photos(place: Place, draw: random.Random) -> Trial:
    """Photos of every format and mode, whole, damaged, or no photos at all."""
    suffix = draw.choice(SUFFIXES)
    path = place.work / f"photo{suffix}"
    data = _photo(draw, suffix)
    way = draw.choice(("whole", "damage", "damage", "damage", "suffix", "bomb", "pipe", "folder", "orientation"))
    if way == "whole":
        path.write_bytes(data)
    elif way == "damage":
        path.write_bytes(hostile.damaged(data, draw))
    elif way == "suffix":
        path = place.work / f"photo{draw.choice(SUFFIXES)}"
        path.write_bytes(data)
    elif way == "bomb":
        header = b"P5 " + draw.choice((b"30000 30000", b"60000 60000", b"99999999 9", b"0 0", b"-1 5")) + b" 255\n"
        path.write_bytes(header + bytes(100))
    elif way == "pipe":
        os.mkfifo(path)
    elif way == "folder":
        path.mkdir()
    else:
        exif = Image.Exif()
        exif[0x0112] = draw.choice((2, 6, 8, 9, 0, 65535))
        Image.new("RGB", (SIZE, 2 * SIZE), (200, 10, 10)).save(path.with_suffix(".jpg"), exif=exif)
        path = path.with_suffix(".jpg")
    bundle = str(draw.choice(place.material.bundles))
    whole = str(place.material.photos / CLASSES[1] / "1.png")
    words = draw.choice((("predict", bundle, path.name), ("predict", bundle, whole, path.name, whole, "--json")))
    return Trial(call=Call(words=words))


@kind(70)
def photo_folders(place: Place, draw: random.Random) -> Trial:
    """Folders of photos with odd names, odd things in them, or hardly any photos."""
    folder = Path(shutil.copytree(place.material.photos, place.work / "data"))
    for _ in range(draw.choice((1, 2, 3))):
        inside = draw.choice((folder, folder / CLASSES[0], folder / CLASSES[2]))
        name = draw.choice([name for name in hostile.NAMES if name.strip(".") and "/" not in name and "\0" not in name])
        name = os.fsdecode(name.encode("utf-8", "surrogateescape" if "\ud800" not in name else "replace"))
        if len(os.fsencode(name)) > 200:
            name = name[:200]
        path = inside / draw.choice(
            (name, f"{name}.png", "photo.heic", "notes.txt", ".DS_Store", "Thumbs.db", ".ipynb_checkpoints")
        )
        way = draw.choice(("folder", "photo", "text", "pipe", "link", "loop", "remove", "closed", "class", "empty"))
        shutil.rmtree(path, ignore_errors=True)
        if not inside.exists() or path.exists() or path.is_symlink():
            continue
        if way == "folder":
            path.mkdir()
        elif way == "photo":
            path.write_bytes(_photo(draw, ".png"))
        elif way == "text":
            path.write_text("x")
        elif way == "pipe":
            os.mkfifo(path)
        elif way == "link":
            path.symlink_to(draw.choice(("/etc", "/nowhere", "/dev/zero", "..")))
        elif way == "loop":
            path.symlink_to(path.name)
        elif way == "class":
            shutil.copytree(place.material.photos / CLASSES[1], path)
        elif way == "closed":
            inside.chmod(0)
        elif way == "empty":
            for file in inside.glob("*.png"):
                if not file.is_dir():
                    file.unlink()
        else:
            shutil.rmtree(inside)
    bundle = str(draw.choice(place.material.bundles))
    words = draw.choice(
        (
            ("run", bundle, "--runs", "3", "--data", "data"),
            ("run", bundle, "--runs", "3", "--data", "data", "--json=run.json"),
            ("verify", bundle, "--data", "data"),
            ("run", bundle, "--runs", "3", "--data", "data", "--limit", "2"),
        )
    )

    def closed_again(outcome: Outcome) -> str | None:
        for path in (folder, *(folder / name for name in CLASSES)):
            if path.exists():
                path.chmod(0o755)
        written = place.work / "run.json"
        return _is_json(Outcome(code=0, out=written.read_bytes(), err=b"")) if written.exists() else None

    return Trial(call=Call(words=words), check=closed_again)


WORDS = (
    *("convert", "run", "predict", "verify", "analyze", "cost", "compare", "benchmark", "report", "info", "doctor"),
    *("deploy", "completion", "--target", "--precision", "--output", "--data", "--limit", "--threads", "--runtime"),
    *("--provider", "--runs", "--duration", "--rate", "--cooldown", "--json", "--json=", "--quiet", "--size", "--io"),
    *("--batch", "--max-drop", "--min-agreement", "--calibration", "--calibration-count", "--seed", "--labels", "--"),
    *("--zip", "--report", "--on", "--wheels", "--against", "--top", "--rounds", "--markdown", "--title", "-o", "-h"),
    *("tflite", "onnx", "all", "int8", "fp32", "999", "0", "-1", "1e9", "nan", "inf", "1s", "0s", "32x32", "0x0"),
    *(
        "missing.keras",
        "missing",
        "missing.zip",
        ".",
        "..",
        "/",
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "/proc/self/mem",
    ),
)


@kind(90)
def command_lines(place: Place, draw: random.Random) -> Trial:
    """Words that make no sense together, and texts that no option expects."""
    words = [
        draw.choice(WORDS) if draw.random() < 0.85 else draw.choice(hostile.NAMES) for _ in range(draw.randrange(7))
    ]
    if words and draw.random() < 0.8:
        words[0] = draw.choice(WORDS[:13])
    # The embedded model would be converted, and another machine asked, if by chance all fits.
    if words[:1] in (["convert"], ["benchmark"], ["analyze"]):
        words.insert(1, "missing.keras")
    if "--on" in words or words[:1] == ["deploy"]:
        words = ["info", *words[1:]]
    return Trial(
        call=Call(words=[os.fsdecode(word.replace("\0", "").encode("utf-8", "surrogatepass")) for word in words])
    )


@kind(60)
def outputs(place: Place, draw: random.Random) -> Trial:
    """Outputs that are inputs, files of the user's, folders, devices, or cannot be written."""
    bundle = place.bundle(draw)
    mine = place.work / "mine.json"
    mine.write_text('{"mine": 1}')
    run = Path(shutil.copy(place.material.root / "documents" / "run.json", place.work / "run.json"))
    photo = str(place.material.photos / CLASSES[0] / "0.png")
    zipped = Path(shutil.copy(place.material.zip, place.work / "zipped.zip"))
    to = draw.choice(
        (
            *(
                "mine.json",
                "run.json",
                "zipped.zip",
                "bundle",
                "bundle/manifest.json",
                "bundle/labels.txt",
                "/dev/full",
            ),
            *(
                "/dev/null",
                "/proc/x.json",
                "new/folder/x.json",
                "mine.json/x.json",
                "closed/x.json",
                "x" * 260 + ".json",
            ),
            *("link.json", "", "run.json", "a\nb.json", "a\x1b[31mb.json"),
        )
    )
    (place.work / "closed").mkdir(mode=0o555)
    (place.work / "link.json").symlink_to("mine.json")
    before = {path: path.read_bytes() for path in (mine, run, zipped, bundle / "manifest.json", bundle / "labels.txt")}
    words = draw.choice(
        (
            ("info", bundle.name, "--json", to),
            ("info", bundle.name, f"--json={to}"),
            ("predict", "--json", bundle.name, photo),
            ("predict", bundle.name, photo, f"--json={to}"),
            ("run", bundle.name, "--runs", "3", f"--json={to}"),
            ("run", "--json", zipped.name, "--runs", "3"),
            ("run", "--json", zipped.name, bundle.name),
            ("compare", "--json", "run.json", "run.json"),
            ("compare", "--json", "mine.json", "run.json", "run.json"),
            ("report", "run.json", "-o", to),
            ("report", "run.json", "--json", "-o", to),
            ("convert", "--target", "tflite", "--json", "mine.json", str(place.material.root / "tiny.keras")[1:]),
            ("convert", "--target", "tflite", "--output", to, "missing.keras"),
            ("verify", bundle.name, f"--json={to}"),
        )
    )

    def kept(outcome: Outcome) -> str | None:
        (place.work / "closed").chmod(0o755)
        lost = [path.name for path, data in before.items() if not path.exists() or path.read_bytes() != data]
        if lost and not (lost == ["run.json"] and words[0] == "run" and outcome.code == 0):
            return f"replaced {', '.join(lost)}"
        return None

    return Trial(call=Call(words=words), check=kept)


@kind(90)
def circumstances(place: Place, draw: random.Random) -> Trial:
    """Processes without streams, a home, memory, files, encodings or a working folder."""
    bundle = place.bundle(draw)
    words: tuple[str, ...] = reading(bundle, place, draw).words  # type: ignore[assignment]
    way = draw.choice(
        (
            *("closed", "closed", "closed", "full", "no home", "no name", "encoding", "encoding", "files", "memory"),
            *("temporary", "gone", "cache", "size", "processes", "variables", "threads"),
        )
    )
    call: dict[str, Any] = {}
    encoding = "utf-8"
    if way == "closed":
        call["closed"] = draw.choice(((0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)))
        call["fresh"] = draw.random() < 0.5
    elif way == "full":
        call["out"] = Path("/dev/full")
    elif way == "no home":
        call["variables"] = {"HOME": draw.choice((None, "", "/nowhere", "relative")), "XDG_CACHE_HOME": None}
    elif way == "no name":
        call |= {"variables": {"HOME": None, "XDG_CACHE_HOME": None, "USER": None}, "inside": _nobody}
    elif way == "encoding":
        name = "caf\u00e9\u2014\U0001f9e2"
        shutil.move(bundle, place.work / name)
        words = tuple(word.replace(bundle.name, name) for word in words)
        encoding = draw.choice(("ascii", "latin-1"))
        posix = draw.random() < 0.3
        call = {
            "fresh": True,
            "variables": {"PYTHONUTF8": "0", "LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"}
            if posix
            else {"PYTHONIOENCODING": encoding},
        }
        encoding = "ascii" if posix else encoding
    elif way == "files":
        call["limits"] = {resource.RLIMIT_NOFILE: draw.choice((6, 9, 12, 20, 40))}
    elif way == "memory":
        call |= {"limits": {resource.RLIMIT_AS: draw.choice((300, 600, 900, 1500)) << 20}, "fresh": True}
    elif way == "threads":
        # The limit of the system, RLIMIT_NPROC, does not hold for root.
        refused = f"inject=?clone,?clone3:error=EAGAIN:when={draw.choice((1, 2, 3, 5, 8))}+"
        call |= {"fresh": True, "under": ("strace", "-f", "-qq", "-o", os.devnull, "-e", refused)}
    elif way == "temporary":
        call["variables"] = {"TMPDIR": draw.choice(("/nowhere", "/proc", str(place.work / "bundle" / "labels.txt")))}
    elif way == "gone":
        call["inside"] = _nowhere
    elif way == "cache":
        (place.work / "cache").write_text("a file")
        call["variables"] = {"XDG_CACHE_HOME": str(place.work / "cache")}
    elif way == "size":
        call["limits"] = {resource.RLIMIT_FSIZE: draw.choice((0, 100, 5000))}
        words = (*words, "--json=run.json") if "--json" not in words else words
    elif way == "processes":
        call["variables"] = {"XEDGE_SSH": "ssh 'open"}
        words = draw.choice(
            (("run", bundle.name, "--on", "nobody@localhost"), ("deploy", "nobody@localhost", bundle.name))
        )
    else:
        call["variables"] = draw.choice(
            (
                {"COLUMNS": "0"},
                {"COLUMNS": "x"},
                {"TERM": ""},
                {"LANG": "xx_YY"},
                {"TZ": "No/Where"},
                {"PYTHONPATH": ""},
            )
        )
    return Trial(call=Call(words=words, **call), encoding=encoding)


def _nowhere() -> None:
    """Work in a folder that is gone."""
    Path("gone").mkdir()
    os.chdir("gone")
    Path("../gone").rmdir()


def _nobody() -> None:
    """Become a user that has no name; only root can."""
    if os.getuid() == 0:
        os.chmod(".", 0o777)  # noqa: PTH101
        os.setgid(54321)
        os.setuid(54321)


@kind(30)
def disks(place: Place, draw: random.Random) -> Trial:
    """Outputs on a disk that is too small or read-only; what was there stays whole."""
    disk = place.work / "disk"
    disk.mkdir()
    size = draw.choice((4, 8, 16, 32, 64, 128, 512))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk], capture_output=True)
    bundle = place.bundle(draw)
    there = draw.choice(("nothing", "nothing", "file", "bundle", "much"))
    if there == "file":
        shutil.copy(place.material.root / "documents" / "cost.json", disk / "out.json")
    elif there == "bundle" and size >= 128:
        shutil.copytree(draw.choice(place.material.bundles), disk / "made")
    elif there == "much":
        with contextlib.suppress(OSError):
            (disk / "filler").write_bytes(bytes((size << 10) - draw.choice((0, 4096, 12288))))
    if draw.random() < 0.3:
        subprocess.run(["mount", "-o", "remount,ro", disk], capture_output=True, check=False)
    model = str(place.material.root / "tiny.keras")
    data = ("--data", str(place.material.photos))
    run_json = str(place.material.root / "documents" / "run.json")
    words = draw.choice(
        (
            ("info", bundle.name, "--json=disk/out.json"),
            ("run", bundle.name, "--runs", "3", *data, "--json=disk/out.json"),
            ("report", run_json, "-o", "disk/page.html"),
            ("convert", model, "--target", "tflite", "--output", "disk/made"),
            ("convert", model, "--target", "tflite", "--output", "disk/made", "--zip"),
        )
    )
    before = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}

    def whole(outcome: Outcome) -> str | None:
        try:
            left = [path.name for path in disk.iterdir() if ".xedge-" in path.name]
            if left:
                return f"left {left}"
            changed = [str(path) for path, content in before.items() if path.read_bytes() != content]
            if changed and outcome.code:
                return f"changed {changed} and failed"
            if (disk / "made").exists():
                open_bundle(disk / "made")
        except Exception as error:
            return f"not whole: {error}"
        finally:
            if not mounted.returncode:
                subprocess.run(["umount", disk], check=True)
        return None

    return Trial(call=Call(words=words, fresh=words[0] == "convert"), check=whole)


@kind(40)
def models(place: Place, draw: random.Random) -> Trial:
    """A model's file that is damaged, or with a configuration that is wrong."""
    source = draw.choice(place.material.models)
    path = place.work / source.name
    if source.is_dir():
        shutil.copytree(source, path)
        file = draw.choice(sorted(one for one in path.rglob("*") if one.is_file()))
        file.write_bytes(hostile.damaged(file.read_bytes(), draw))
    elif source.suffix == ".keras" and draw.random() < 0.6:
        with zipfile.ZipFile(source) as archive, zipfile.ZipFile(path, "w") as made:
            for info in archive.infolist():
                data = archive.read(info)
                if info.filename == "config.json":
                    data = hostile.text(hostile.changed(json.loads(data), draw), draw)
                made.writestr(info.filename, data)
    else:
        path.write_bytes(hostile.damaged(source.read_bytes(), draw))
    if draw.random() < 0.1:
        path = place.work / "pipe.keras"
        os.mkfifo(path)
    words = draw.choice((("info", path.name), ("cost", path.name, "--json")))
    return Trial(call=Call(words=words, fresh=True))


@kind(60)
def networks(place: Place, draw: random.Random) -> Trial:
    """An ONNX file that is damaged, or whose operators, tensors and shapes do not fit one another."""
    path = place.work / "tiny.onnx"
    data = place.material.network.read_bytes()
    path.write_bytes(hostile.damaged(data, draw) if draw.random() < 0.3 else hostile.wrong_network(data, draw))
    words = draw.choice(
        (
            ("info", path.name),
            ("info", path.name, "--json"),
            ("cost", path.name, "--json"),
            ("convert", path.name, "--target", draw.choice(("tflite", "onnx", "openvino")), "--output", "made"),
        )
    )
    return Trial(call=Call(words=words, fresh=True))


@kind(20)
def arrays(place: Place, draw: random.Random) -> Trial:
    """Calibration photos in an array that is damaged, of another shape or type, or far too large."""
    path = place.work / draw.choice(("photos.npy", "photos.npz"))
    shape = (10, SIZE, SIZE, 3)
    coarse = np.random.default_rng(1).integers(0, 256, (10, SIZE // 4 + 1, SIZE // 4 + 1, 3)).astype(np.uint8)
    good = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :SIZE, :SIZE]
    array: Any = draw.choice(
        (
            *(good, good[0], good[:, :5], good[..., :1], good[:0], good.astype(np.float32), good.astype(np.float64)),
            *(good / 127.5 - 1, np.full(shape, np.nan), np.full(shape, 1e300), good.astype(complex), good.astype(str)),
            *(np.array(["x"]), np.array(5), good.astype(np.int64), good > 3, np.zeros((0,)), good / 127.5e6),
        )
    )
    buffer = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(buffer, **({"a": array} if draw.random() < 0.9 else {}))
    else:
        np.save(buffer, array)
    data = buffer.getvalue()
    if draw.random() < 0.4:
        data = hostile.damaged(data, draw)
    if draw.random() < 0.1:
        data = data.replace(b"(10, ", b"(99999999999, ")
    path.write_bytes(data)
    model = str(place.material.root / "tiny.keras")
    words = (
        "convert",
        model,
        "--target",
        "tflite",
        "--precision",
        "int8",
        "--calibration",
        path.name,
        "--output",
        "made",
    )
    return Trial(call=Call(words=words, fresh=True))


@kind(20)
def labels(place: Place, draw: random.Random) -> Trial:
    """Label files of every kind, through a whole conversion."""
    path = place.work / "labels.txt"
    names = draw.choice(
        (
            *(["hat", "shoe", "skirt"], ["hat", "hat", "skirt"], ["hat"], [""] * 3, ["a", "b", "c", "d"]),
            draw.sample([name for name in hostile.NAMES if "\n" not in name and name.strip()], 3),
        )
    )
    text = draw.choice(("\n", "\r\n", "\r")).join(names) + draw.choice(("", "\n", "\n\n"))
    data = text.encode(draw.choice(("utf-8", "utf-8", "utf-16", "utf-8-sig")), "surrogatepass")
    path.write_bytes(data if draw.random() < 0.8 else hostile.damaged(data, draw))
    if draw.random() < 0.1:
        path.unlink()
        os.mkfifo(path)
    model = str(place.material.root / "tiny.keras")
    data_option = ("--data", str(place.material.photos)) if draw.random() < 0.5 else ()
    words = ("convert", model, "--target", "tflite", "--labels", path.name, "--output", "made", *data_option)
    return Trial(call=Call(words=words, fresh=True))


@kind(10)
def interrupted(place: Place, draw: random.Random) -> Trial:
    """A conversion over an existing bundle that is ended at any time by signals; the old or the new one is whole."""
    old = place.bundle(draw, "made")
    model = str(place.material.root / "tiny.keras")
    number = draw.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL))
    first = draw.uniform(0.05, 4.0)
    send = tuple(
        (int(number), first + 0.05 * again) for again in range(1 if number == signal.SIGKILL else draw.choice((1, 4)))
    )
    words = ("convert", model, "--target", "tflite", "--output", old.name)

    def whole(outcome: Outcome) -> str | None:
        try:
            open_bundle(old)
        except Exception as error:
            return f"neither the old nor the new bundle is whole: {error}"
        if number != signal.SIGKILL:
            left = [path.name for path in place.work.iterdir() if ".xedge-" in path.name]
            return f"left {left}" if left else None
        return None

    signals = (signal.SIGKILL,) if number == signal.SIGKILL else ()
    # Before the program has begun, a signal ends the interpreter.
    early = first < 1.0
    return Trial(
        call=Call(words=words, fresh=True, send=send),
        signals=(*signals, *((int(number),) if early else ())),
        check=whole,
    )
