"""Every example runs as it is."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Command
from tests.machine import until
from xedge.models.compact import embedded

EXAMPLES = Path(__file__).parent.parent / "examples"
TEST = embedded.test_photos().root
CALIBRATION = Path(embedded.__file__).parent / "calibration"


def run_example(name: str, *arguments: object, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_readme_lists_every_example_and_every_one_is_tested() -> None:
    files = {path.name for path in EXAMPLES.glob("*.py")}
    readme, tests = (EXAMPLES / "README.md").read_text(), Path(__file__).read_text()
    assert {name for name in files if f"examples/{name}" in readme} == files
    assert {name for name in files if f'"{name}"' in tests} == files


@pytest.mark.slow
def test_python_api(tmp_path: Path) -> None:
    words = run_example("python_api.py", tmp_path, cwd=tmp_path)
    assert "of fp32's time" in words
    assert (tmp_path / "report.html").is_file()
    assert "what goes wrong says so in a line" in words


@pytest.mark.slow
def test_convert_your_model(tmp_path: Path) -> None:
    words = run_example("convert_your_model.py", CALIBRATION, "--epochs", 2, "--output", "made", cwd=tmp_path)
    assert words.count("agreement") == 3
    assert len(list((tmp_path / "made").glob("*/manifest.json"))) == 3


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train and test."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "train").symlink_to(CALIBRATION)
    (folder / "test").symlink_to(TEST)
    return folder


@pytest.mark.slow
def test_fine_tune_head(photos: Path, tmp_path: Path) -> None:
    """On photos that the convolutions know: a hundred make a head nearly as good as the one that was taken off."""
    words = run_example("fine_tune_head.py", photos, "out", cwd=tmp_path)
    line = next(line for line in words.splitlines() if line.startswith("float "))
    assert float(line.split()[1]) > 75
    manifest = json.loads((tmp_path / "out" / "bundle" / "manifest.json").read_text())
    assert manifest["accuracy"]["agreement"]["agreement"] > 0.95


@pytest.mark.slow
def test_fine_tune_head_at_another_size(photos: Path, tmp_path: Path) -> None:
    words = run_example("fine_tune_head.py", photos, "out", "--size", "128x112", cwd=tmp_path)
    line = next(line for line in words.splitlines() if line.startswith("float "))
    assert float(line.split()[1]) > 70
    manifest = json.loads((tmp_path / "out" / "bundle" / "manifest.json").read_text())
    assert (manifest["preprocessing"]["height"], manifest["preprocessing"]["width"]) == (128, 112)


def test_fine_tune_head_says_what_a_size_is(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "fine_tune_head.py"), str(tmp_path), str(tmp_path), "--size", "224xx"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("'224xx' is not a size of photos; say 224x224")


@pytest.mark.slow
def test_compare_convolutions(photos: Path, tmp_path: Path) -> None:
    options = ("--epochs", 1, "--seeds", 1, "--size", 71, "--width", 0.125, "--rounds", 3)
    two = ("separable, depthwise first", "ordinary convolutions")
    words = run_example("compare_convolutions.py", photos, "out", *options, "--only", *two, cwd=tmp_path)
    assert (tmp_path / "out" / "comparison.md").read_text() in words
    assert "1/N + 1/9" in words
    separable, ordinary = (line.split("|") for line in words.splitlines() if line.startswith(("| sep", "| ord")))
    assert float(ordinary[3]) > 4 * float(separable[3])


@pytest.mark.slow
def test_a_change_is_told_over_all_pairs_that_were_trained() -> None:
    top1 = {
        "separable, depthwise first": (0.70, 0.72),
        "ReLU between": (0.69, 0.70),
        "pointwise first": (0.75, 0.74),
        "pointwise first, ReLU between": (0.72, 0.70),
    }
    code = f"import compare_convolutions as c; print(*c.changes({top1}), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], cwd=EXAMPLES, capture_output=True, text=True, check=True)
    relu, order = done.stdout.splitlines()
    # 1, 2, 3 and 4 points; their deviation is 1.291, half of the interval 3.182 times half of that.
    assert relu == "- nothing between instead of ReLU: +2.5 [+0.4, +4.6] points, 4 pairs"
    assert order.startswith("- pointwise first instead of depthwise first: +2.5")


def test_camera_with_frames_that_are_made(bundles: Path, tmp_path: Path) -> None:
    words = run_example("camera.py", bundles / "tflite_int8", "--frames", 20, cwd=tmp_path)
    assert words.splitlines()[-1].startswith("20 frames")


def test_camera_with_a_video(bundles: Path, tmp_path: Path) -> None:
    """A video of pants shows pants; every frame of a file is looked at."""
    import cv2

    photo = next(file for file in embedded.test_photos().files if file.parent.name == "pants")
    decoded = cv2.imread(str(photo))
    assert decoded is not None
    frame = cv2.resize(decoded, (320, 320))
    writer = cv2.VideoWriter(str(tmp_path / "pants.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (320, 320))
    for _ in range(30):
        writer.write(frame)
    writer.release()
    words = run_example("camera.py", bundles / "tflite_int8", "--source", tmp_path / "pants.avi", cwd=tmp_path)
    assert "pants" in words.splitlines()[0]
    assert words.splitlines()[-1].startswith("30 frames")
    assert " 0 dropped" in words


def test_camera_without_a_camera(bundles: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "camera.py", bundles / "tflite_int8", "--source", tmp_path / "nothing.avi"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot be opened" in done.stderr


@pytest.mark.parametrize(
    ("missing", "words", "arguments"),
    [
        ("cv2", "pip install opencv-python-headless", ("camera.py", "BUNDLE", "--source", "0")),
        ("picamera2", "apt install python3-picamera2", ("camera.py", "BUNDLE", "--source", "picamera")),
        ("flask", "flask is not installed: pip install flask waitress", ("serve.py", "BUNDLE")),
        ("waitress", "waitress is not installed: pip install flask waitress", ("serve.py", "BUNDLE")),
        ("keras", "keras is not installed: pip install 'xedge[host,tensorflow]'", ("fine_tune_head.py", "A", "B")),
        ("keras", "keras is not installed: pip install 'xedge[host,tensorflow]'", ("convert_your_model.py", "A")),
        (
            "keras",
            "keras is not installed: pip install 'xedge[host,tensorflow]'",
            ("compare_convolutions.py", "A", "B"),
        ),
        ("onnxruntime", "onnxruntime is needed and not installed: pip install 'xedge[host]'", ("python_api.py",)),
    ],
)
def test_a_missing_package_is_one_line(missing: str, words: str, arguments: tuple[str, ...]) -> None:
    script = "import runpy, sys\nsys.modules[sys.argv[1]] = None\nsys.argv[:] = sys.argv[2:]\n"
    script += "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", script, missing, str(EXAMPLES / arguments[0]), *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_command_lists_and_copies_them_and_replaces_nothing(here: Command, tmp_path: Path) -> None:
    listed = here("examples").stdout.splitlines()
    files = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".service")}
    assert {line.split()[0] for line in listed[: len(files)]} == files
    assert any(line.startswith("serve.py ") and "a small HTTP service" in line for line in listed)
    assert json.loads(here("examples", "--json").stdout)["examples"].keys() == files
    copied = here("examples", tmp_path / "new" / "folder", "--json")
    assert {Path(path).name for path in json.loads(copied.stdout)["copied"]} == files
    for name in files:
        assert (tmp_path / "new" / "folder" / name).read_bytes() == (EXAMPLES / name).read_bytes()
    assert here("examples", tmp_path / "new" / "folder").returncode == 0
    mine = tmp_path / "serve.py"
    mine.write_text("mine")
    done = here("examples", tmp_path)
    assert done.returncode == 3
    assert "serve.py: is there already" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "serve.py"]
    assert mine.read_text() == "mine"
    assert here("examples", tmp_path, "--force").returncode == 0
    assert mine.read_bytes() == (EXAMPLES / "serve.py").read_bytes()


@contextmanager
def served(bundle: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, EXAMPLES / "serve.py", bundle, "--port", str(port)])

    def answers() -> bool:
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(answers)
        yield f"http://127.0.0.1:{port}"
    finally:
        # As systemd would. An interrupt would not arrive where the tests themselves run in a shell's background.
        server.terminate()
        assert server.wait(timeout=120) == -signal.SIGTERM


def asked(url: str, data: bytes | None = None, kind: str = "image/jpeg") -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(url, data, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_serve(bundles: Path) -> None:
    photo = next(file for file in embedded.test_photos().files if file.parent.name == "pants")
    edge = os.urandom(8).hex()
    form = (
        f'--{edge}\r\nContent-Disposition: form-data; name="photo"; filename="p.jpg"\r\n\r\n'.encode()
        + photo.read_bytes()
        + f"\r\n--{edge}--\r\n".encode()
    )
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (2900, 2900, 3)).astype(np.uint8)).save(noise, "PNG")
    with served(bundles / "tflite_int8") as url:
        status, health = asked(f"{url}/health")
        assert (status, health["precision"]) == (200, "int8")
        status, body = asked(f"{url}/classify?top=2", photo.read_bytes())
        assert status == 200
        classes = body["classes"]
        assert isinstance(classes, list)
        assert classes[0]["label"] == "pants"
        assert len(classes) == 2
        assert health["labels"][classes[0]["index"]] == "pants"  # type: ignore[index]
        # What `curl --data-binary` calls a body without a type of its own.
        status, by_curl = asked(f"{url}/classify?top=2", photo.read_bytes(), "application/x-www-form-urlencoded")
        assert (status, by_curl["classes"]) == (200, classes)
        status, by_form = asked(f"{url}/classify?top=2", form, f"multipart/form-data; boundary={edge}")
        assert (status, by_form["classes"]) == (200, classes)
        assert asked(f"{url}/classify", b"no photo")[0] == 400
        assert asked(f"{url}/classify", b"")[0] == 400
        assert asked(f"{url}/classify", noise.getvalue())[0] == 413
        assert asked(f"{url}/classify", photo.read_bytes())[0] == 200
