"""What files of others may do: nothing but be read, checked and computed."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tests.campaign import hostile
from tests.campaign.material import mend
from tests.conftest import Command
from xedge.api.documents import read_document
from xedge.bundle import manifest as manifests
from xedge.bundle.reading import open_bundle
from xedge.codec import to_json
from xedge.errors import BundleError, InputError
from xedge.models.compact import embedded
from xedge.processes import SIGNALS, python_module, python_program, reason, run_python
from xedge.runtimes import Settings, choose_runtime
from xedge.runtimes.trial import tried
from xedge.sources.saved_model.acting import refuse_acting
from xedge.untrusted import one_line, shown

PHOTO = embedded.test_photos().files[0]


# Modules in the working folder


@pytest.fixture
def poisoned(tmp_path: Path) -> Path:
    """A folder in which every module of the standard library and of xedge's packages has a namesake."""
    packages = ("numpy", "PIL", "xedge", "keras", "tensorflow", "onnx", "onnxruntime", "openvino", "ai_edge_litert")
    for name in (*sys.stdlib_module_names, *packages, "sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n")
    return tmp_path


def test_children_take_no_modules_from_the_working_folder(poisoned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(poisoned)
    # An empty entry stands for the working folder, too.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", os.environ.get("PYTHONPATH", "")]))
    assert run_python(python_module("json.tool", "--help")).returncode == 0
    assert run_python(python_program("import numpy, json; print(numpy.__version__)")).returncode == 0
    assert not (poisoned / "ran").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("compare", "{0}/tflite_fp32", "{0}/tflite_int8", "--rounds", "1", "--runs", "3"),
        ("doctor", "--for", "{0}/tflite_fp32"),
        ("convert", "{1}/saved", "--target", "all", "--output", "out"),
        ("benchmark", "--target", "tflite", "--rounds", "1", "--runs", "3", "--limit", "3"),
        ("cost", "{1}/saved"),
    ],
)
def test_commands_with_children_run_no_code_of_the_working_folder(
    words: tuple[str, ...], poisoned: Path, bundles: Path, acting: Path
) -> None:
    program = str(Path(sys.executable).with_name("xedge"))
    done = subprocess.run([program, *(word.format(bundles, acting) for word in words)], cwd=poisoned, check=False)
    assert done.returncode in (0, 4, 8)
    assert not (poisoned / "ran").exists()


# Operations of a SavedModel


class _Module(tf.Module):  # type: ignore[misc]
    """A classifier that does something else besides."""

    def __init__(self, beside: Callable[[], Any]) -> None:
        super().__init__()
        self.weights = tf.Variable(tf.random.normal((3, 4)))
        self.names = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], ["b"]), "c")
        self.beside = beside

    @tf.function(input_signature=[tf.TensorSpec((1, 16, 16, 3))])  # type: ignore[untyped-decorator]
    def serve(self, photo: Any) -> Any:
        with tf.control_dependencies([self.beside()]):
            return tf.nn.softmax(tf.reduce_mean(photo, (1, 2)) @ self.weights)


@pytest.fixture(scope="session")
def acting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SavedModels of which all but ``saved`` do more than compute."""
    folder = tmp_path_factory.mktemp("acting")
    beside: dict[str, Callable[[], Any]] = {
        "saved": tf.no_op,
        "writing": lambda: tf.io.write_file(str(folder / "written"), "x"),
        "reading": lambda: tf.io.read_file("/etc/hostname"),
        "listing": lambda: tf.io.matching_files("/etc/*"),
        "printing": lambda: tf.print("x", output_stream=f"file://{folder / 'written'}"),
        "calling": lambda: tf.numpy_function(lambda: 1.0, [], tf.float32),
    }
    for name, function in beside.items():
        module = _Module(function)
        tf.saved_model.save(module, str(folder / name), signatures=module.serve)
    (folder / "written").unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("writing", "WriteFile"),
        ("reading", "ReadFile"),
        ("listing", "MatchingFiles"),
        ("printing", "PrintV2"),
        ("calling", "PyFunc"),
    ],
)
def test_a_saved_model_that_does_more_than_compute_is_refused(name: str, operation: str, acting: Path) -> None:
    refuse_acting(acting / "saved")
    with pytest.raises(InputError, match=f"its operation {operation} does more than compute"):
        refuse_acting(acting / name)


def test_such_a_model_is_not_even_loaded(acting: Path, xedge: Command) -> None:
    done = xedge("info", acting / "writing")
    assert done.returncode == 3
    assert "if you trust the model, give --allow-code" in done.stderr
    assert not (acting / "written").exists()
    assert xedge("info", acting / "saved").returncode == 0


# Artifacts that crash a runtime


def _crash(kind: str) -> None:
    if kind == "SIGSEGV":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.Signals[kind])


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("SIGSEGV", 5, "do not trust it, and convert again"),
        ("SIGABRT", 5, "do not trust it, and convert again"),
        ("SIGKILL", 7, "most likely there was too little memory"),
        ("SIGILL", 6, "xedge doctor says which runtimes work here"),
    ],
)
def test_a_crash_is_one_line_with_the_name_of_the_signal(kind: str, code: int, words: str, tmp_path: Path) -> None:
    """In a process that has one thread, as the command line has."""
    program = f"""
from pathlib import Path
from tests.test_trust import _crash
from xedge.errors import XedgeError
from xedge.runtimes import Settings, choose_runtime
from xedge.runtimes import trial
trial._threads = lambda: 1  # importing TensorFlow for this module has started some
try:
    path = Path("x.tflite")
    trial.tried(path, {kind!r}, choose_runtime(path), Settings(threads=1), lambda: _crash({kind!r}))
except XedgeError as error:
    print(error.exit_code, error)
"""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{code} x.tflite: ai-edge-litert ")
    assert kind in done.stdout
    assert words in done.stdout
    assert not list(tmp_path.rglob("opened/*"))


@pytest.mark.parametrize(
    "words",
    [
        ("run", "{good}", "--against", "{bad}", "--no-accuracy", "--runs", "3"),
        ("verify", "{good}", "{bad}"),
        ("evaluate", "{good}", "{bad}", "--data", "{photos}", "--workers", "1", "--output", "{out}"),
        ("demo", "{good}", "{bad}", "--data", "{photos}"),
    ],
    ids=lambda words: words[0],
)
def test_the_second_of_two_bundles_crashes_no_command(
    words: tuple[str, ...], bundles: Path, few_photos: Path, tmp_path: Path
) -> None:
    """It is tried before the first one is opened, because nothing can be tried once a runtime has threads."""
    bad = Path(shutil.copytree(bundles / "tflite_int8", tmp_path / "bad"))
    (artifact,) = bad.glob("*.tflite")
    shutil.copy(Path(__file__).parent / "data" / "crashing.tflite", artifact)
    mend(bad)
    places = {"good": bundles / "onnx_fp32", "bad": bad, "photos": few_photos, "out": tmp_path / "out"}
    command = [sys.executable, "-m", "xedge", *(word.format(**places) for word in words)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert done.returncode == BundleError.exit_code, done.stderr
    assert f"{artifact.name}: ai-edge-litert " in done.stderr


def test_an_artifact_is_tried_once(bundles: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    command = [str(Path(sys.executable).with_name("xedge")), "predict", str(bundles / "tflite_int8"), str(PHOTO)]
    for _ in range(2):
        assert subprocess.run(command, env=environment, check=False, capture_output=True).returncode == 0
        assert len(list((tmp_path / "xedge" / "opened").iterdir())) == 1


def test_several_threads_are_not_copied(tmp_path: Path) -> None:
    """The threads of TensorFlow, which this process has, would be missing in a copy."""
    runtime, path = choose_runtime(Path("x.tflite")), tmp_path / "x.tflite"
    assert tried(path, "contents", runtime, Settings(threads=1), os.abort) == 0.0


def test_how_processes_end_is_told_in_words() -> None:
    done = run_python(python_program("import os; os.abort()"))
    assert reason(done) == SIGNALS[signal.SIGABRT]
    start = time.monotonic()
    assert reason(run_python(python_program("import time; time.sleep(60)"), 0.5)) == "no answer within 0.5 s"
    assert time.monotonic() - start < 30


# Manifests and documents


def test_an_artifact_that_does_not_fit_its_manifest_is_refused(bundles: Path, tmp_path: Path, here: Command) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(bundles / "tflite_fp32", bundle)
    data = json.loads((bundle / "manifest.json").read_text())
    data["preprocessing"] |= {"height": 64, "width": 64}
    data["input"]["shape"] = [1, 64, 64, 3]
    (bundle / "manifest.json").write_text(json.dumps(data))
    done = here("predict", bundle, PHOTO)
    assert done.returncode == 5
    assert "but the manifest says (1, 64, 64, 3)" in done.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["input"].update(shape=[1, 64, 64, 3]), "but preprocessing makes photos of"),
        (lambda d: d["output"].update(shape=[1, 11]), "10 classes need 10 values"),
        (lambda d: d["golden"].update(photos=[]), r"golden\.photos is empty"),
        (lambda d: d["golden"].update(tolerance=7.0), "and not from 0 to 1"),
        (lambda d: d["preprocessing"].update(height=0), "photos of 0x128 pixels"),
        (lambda d: d["preprocessing"].update(scale=[1e400]), "a finite number"),
        (lambda d: d["input"].update(shape=[1, 10**400, 1, 1]), "a whole number of 64 bits"),
        (lambda d: d["model"].update(name="\ud800"), "a text of whole characters"),
        (lambda d: d.update(input=[[[]]]), "an object"),
        (lambda d: d.update(target={"a": 1}), "a text"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    change: Callable[[dict[str, Any]], None], words: str, bundles: Path
) -> None:
    data = to_json(open_bundle(bundles / "tflite_fp32").manifest)
    change(data)
    with pytest.raises(BundleError, match=words):
        manifests.loads(json.dumps(data))


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 10_000, "{", "\ufeff[]", "null", "NaN"])
def test_what_is_hardly_json_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError):
        read_document(path)
    with pytest.raises(BundleError):
        manifests.loads(text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["accuracy"].update(top1=0.1), "contradict"),
        (lambda d: d["accuracy"].update(photos=3), "contradict"),
        (lambda d: d["accuracy"].update(interval95=[0.0, 0.01]), "contradict"),
        (lambda d: d["confusion"]["cells"].append([0, 1, 5]), "contradict|same classes"),
        (lambda d: d["answers"]["first"].__setitem__(0, 99), "the index of a label"),
        (lambda d: d.update(samples_ns=[-5, 1]), "not positive"),
    ],
)
def test_a_document_that_contradicts_itself_is_refused(
    change: Callable[[dict[str, Any]], None], words: str, document: Callable[[str], Path], tmp_path: Path
) -> None:
    data = json.loads(document("run_fp32").read_text())
    change(data)
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=words):
        read_document(tmp_path / "a.json")


# Text


@pytest.mark.parametrize("name", hostile.NAMES)
def test_no_name_acts_on_a_terminal(name: str) -> None:
    line = one_line(name)
    assert "\n" not in line
    assert line.encode().decode() == line
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in line)
    assert not set(shown(name)) & set("\u202e\u2066\u2069\ufeff\u2028")


def test_names_that_mean_nothing_are_left_alone() -> None:
    for name in ("café", "日本語", "🧢 cap", "a b", "e\u0301", "می\u200cخواهم"):
        assert one_line(name) == name


# Telemetry


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_nothing_is_kept_or_sent_about_the_use_of_runtimes(target: str, bundles: Path, tmp_path: Path) -> None:
    names = ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED", "CI", "GITHUB_ACTIONS", "TF_BUILD")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    code = f"""
import sys, xedge
with xedge.load({str(bundles / f"{target}_fp32")!r}) as model:
    model.classify({str(PHOTO)!r})
print("openvino_telemetry" in sys.modules and sys.modules["openvino_telemetry"] is not None)
"""
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == "False\n", done.stderr
    assert done.stderr == ""
    left = [path.name for path in tmp_path.rglob("*") if path.is_file() and "opened" not in path.parts]
    assert left == []
