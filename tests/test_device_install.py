"""The device side: one wheel that holds only xedge/, in a fresh environment with NumPy, Pillow and one runtime."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

from tests.machine import until
from xedge.bundle.reading import Bundle

pytestmark = pytest.mark.installs
ROOT = Path(__file__).resolve().parent.parent
HOST_ONLY = ("tensorflow", "keras", "onnx", "onnxruntime", "openvino")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_only_xedge(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"xedge"}
    for needed in (
        "xedge/converters/tflite/writer.py",
        "xedge/quantization/static.py",
        "xedge/models/compact/model.keras",
        "xedge/schemas/run.json",
        "xedge/schemas/manifest.json",
        "xedge/demo/page.html",
        "xedge/demo/page.js",
    ):
        assert needed in names
    assert sum("/compact/test/" in name for name in names) == 372
    assert sum("/compact/calibration/" in name for name in names) == 100
    examples = {path.name for path in (ROOT / "examples").iterdir() if path.is_file()}
    assert {name.rpartition("/")[2] for name in names if name.startswith("xedge/examples/")} == examples


@pytest.mark.parametrize("call", ["convert(target='tflite')", "cost()", "benchmark()", "wrap('a.tflite')"])
def test_without_the_hosts_packages_python_says_what_a_device_does(call: str) -> None:
    hidden = "class Hidden:\n    def find_spec(self, name, path=None, target=None):\n"
    hidden += "        if name.partition('.')[0] in ('onnxruntime', 'keras', 'onnx'):\n"
    hidden += "            raise ModuleNotFoundError(f'No module named {name}', name=name)\n"
    script = f"import sys\n{hidden}sys.meta_path.insert(0, Hidden())\nimport xedge\n"
    script += f"from xedge.errors import MissingRuntimeError\ntry:\n    xedge.{call}\n"
    script += "except MissingRuntimeError as error:\n    print(error)\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "is needed and not installed: pip install 'xedge[host]', on a computer" in done.stdout
    assert "`xedge deploy USER@DEVICE BUNDLE`" in done.stdout


@pytest.mark.parametrize("runtime", ["litert", "tflite"])
def test_a_bundle_runs_with_one_runtime_alone(wheel: Path, int8_bundle: Bundle, tmp_path: Path, runtime: str) -> None:
    if runtime == "tflite" and sys.version_info >= (3, 12):
        pytest.skip("tflite-runtime has no wheel for Python 3.12 and later")
    venv.create(tmp_path / "device", with_pip=True)
    python = tmp_path / "device" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"{wheel}[{runtime}]"], check=True, capture_output=True)
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True)
    assert not {package["name"].lower() for package in json.loads(listed.stdout)} & set(HOST_ONLY)
    command: list[str | Path] = [python, "-m", "xedge", "run", int8_bundle.root, "--runs", "64", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["accuracy"]["top1"] >= 0.85
    assert report["self_test"]["max_difference"] <= report["self_test"]["tolerance"]
    doctor = subprocess.run([python, "-m", "xedge", "doctor", "--json"], capture_output=True, text=True, check=False)
    statuses = {one["name"]: one["status"] for one in json.loads(doctor.stdout)["findings"]}
    assert statuses["ai-edge-litert" if runtime == "litert" else "tflite-runtime"] == "ok"
    assert statuses["openvino"] == "unknown"
    if runtime == "tflite":
        # The classic: tflite-runtime's metadata does not say that it needs NumPy 1.
        subprocess.run([python, "-m", "pip", "install", "--quiet", "numpy>=2"], check=True, capture_output=True)
        doctor = subprocess.run([python, "-m", "xedge", "doctor"], capture_output=True, text=True, check=False)
        assert doctor.returncode == 8
        assert "built for NumPy 1" in doctor.stdout
        assert "numpy<2" in doctor.stdout
    if runtime == "litert":
        the_examples_say_what_is_missing(python, tmp_path)
        the_demo_is_served(python, int8_bundle, tmp_path)
    # What only the host has is asked for by name, in one line.
    for arguments in (("run", int8_bundle.root, "--runtime", "tflite"), ("convert", "--target", "tflite")):
        if runtime == "litert":
            done = subprocess.run([python, "-m", "xedge", *arguments], capture_output=True, text=True, check=False)
            assert done.returncode == 6
            assert "pip install" in done.stderr
            assert len(done.stderr.strip().splitlines()) == 1


def the_examples_say_what_is_missing(python: Path, folder: Path) -> None:
    """The installed package has them; each ends in a line where what it needs is not installed."""
    subprocess.run([python, "-m", "xedge", "examples", folder / "examples"], check=True, capture_output=True)
    needed = {
        "camera.py": (("BUNDLE", "--source", "0"), "pip install opencv-python-headless"),
        "serve.py": (("BUNDLE",), "pip install flask waitress"),
        "python_api.py": ((), "pip install 'xedge[host]'"),
        "convert_your_model.py": (("PHOTOS",), "pip install 'xedge[host,tensorflow]'"),
        "fine_tune_head.py": (("PHOTOS", "OUT"), "pip install 'xedge[host,tensorflow]'"),
        "compare_convolutions.py": (("PHOTOS", "OUT"), "pip install 'xedge[host,tensorflow]'"),
    }
    assert {path.name for path in (folder / "examples").glob("*.py")} == set(needed)
    for name, (arguments, words) in needed.items():
        command: list[str | Path] = [python, folder / "examples" / name, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
        assert done.returncode == 1
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def the_demo_is_served(python: Path, bundle: Bundle, folder: Path) -> None:
    """With NumPy, Pillow and a runtime alone."""
    command: list[str | Path] = [python, "-m", "xedge", "demo", bundle.root, "--port", "0", "--json=url.json"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            until((folder / "url.json").is_file)
            url = json.loads((folder / "url.json").read_text())["url"].replace("/?", "/events?")
            with urllib.request.urlopen(url, timeout=60) as events:
                state = next(json.loads(line[6:]) for line in events if line.startswith(b"data: {"))
        finally:
            process.terminate()
        assert process.wait(timeout=60) == 0
    assert state["picture"] is None or state["picture"].startswith("data:image/jpeg")
