"""Another machine over a real SSH server on loopback: what is sent, what runs, what an interruption leaves."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.conftest import Command, run_xedge
from tests.machine import Machine, serving, until
from xedge.errors import ConnectionLostError, InputError, ResourceError
from xedge.models.compact import embedded
from xedge.photos.sets import PhotoSet
from xedge.remote.answers import Done, Ran, State
from xedge.remote.deploy import _photos
from xedge.remote.ssh import Ssh
from xedge.remote.wheel import write_wheel


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    home = folder / "home"
    home.mkdir()
    with serving(folder, home) as made:
        yield made


@pytest.fixture
def remote(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, whose ssh knows the machine as ``pi``."""
    monkeypatch.setenv("XEDGE_SSH", f"ssh -F {machine.config}")
    return run_xedge


@pytest.mark.installs
def test_a_bundle_runs_on_another_machine(remote: Command, machine: Machine, bundles: Path) -> None:
    """From nothing, then again: the second time nothing is sent or installed."""
    names = [bundles / "tflite_int8", bundles / "tflite_fp32"]
    first = remote("run", "--on", "pi", *names, "--limit", 100, "--runs", 64)
    assert first.returncode == 0, first.stderr
    assert "install    xedge[litert]" in first.stdout
    assert "golden difference" in first.stdout
    again = remote("run", "--on", "pi", *names, "--limit", 100, "--runs", 64, "--json")
    assert again.returncode == 0, again.stderr
    assert "send       0 of" in again.stderr
    assert "install    as before" in again.stderr
    report = json.loads(again.stdout)
    assert [run["precision"] for run in report["runs"]] == ["int8", "fp32"]
    for run in report["runs"]:
        assert run["accuracy"]["photos"] == 100
        assert run["self_test"]["max_difference"] <= run["self_test"]["tolerance"]
        assert len(run["samples_ns"]) == 64
    # Nothing lies outside the agent's folder, and no lock is held.
    assert {path.name for path in machine.home.iterdir()} <= {".xedge", ".cache"}
    assert machine.ssh.ask(Ran, {"do": "run", "arguments": ["true"]}).code == 0


@pytest.mark.installs
def test_a_profile_comes_home(remote: Command, bundles: Path) -> None:
    """The times of operations are measured there, and the report that comes back has them with their kernels."""
    done = remote("run", "--on", "pi", bundles / "tflite_int8", "--no-accuracy", "--runs", 5, "--profile", "--json")
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert run["not_measured"] == []
    operations = run["profile"]["operations"]
    products = [one for one in operations if one["product"]]
    assert len(products) >= 20
    assert all(one["kernels"] for one in products)
    assert sum(one["share"] for one in operations) == pytest.approx(1)
    assert sum(one["ms"] for one in operations) == pytest.approx(run["profile"]["total_ms"])


@pytest.mark.installs
def test_another_machine_explains_its_latency(remote: Command, bundles: Path) -> None:
    """The causes are those of the machine there, told under the bundles' own names."""
    named = (bundles / "tflite_int8", "--against", bundles / "tflite_fp32")
    done = remote("explain", "--on", "pi", *named, "--threads", 1, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["bundle"], found["against"]) == ("tflite_int8", "tflite_fp32")
    assert found["execution"]["threads"] == 1
    assert found["timed_ms"] > 0
    assert sum(found[f"{role}_share"] for role in ("integer", "float", "conversion")) <= 1.001
    assert found["ratio"] > 0
    assert all(cause["cure"] and cause["reason"] for cause in found["causes"])
    shown = remote("explain", "--on", "pi", named[0])
    assert shown.returncode == 0, shown.stderr
    assert "p50" in shown.stdout


@pytest.mark.installs
def test_deploy_says_what_the_doctor_says(remote: Command, bundles: Path) -> None:
    done = remote("deploy", "pi", bundles / "tflite_int8", "--json")
    assert done.returncode == 0, done.stderr
    statuses = {one["name"]: one["status"] for one in json.loads(done.stdout)["doctor"]["findings"]}
    assert statuses["ai-edge-litert"] == "ok"


@pytest.mark.installs
def test_a_file_of_others_is_deployed_and_runs_there(remote: Command, bundles: Path, tmp_path: Path) -> None:
    """What was wrapped is sent, tested and scored as every bundle is."""
    (artifact,) = (bundles / "tflite_int8").glob("*.tflite")
    photos = embedded.test_photos().root
    wrapped = remote("wrap", artifact, "--preprocess", "tf", "--data", photos, "--output", tmp_path / "theirs")
    assert wrapped.returncode == 0, wrapped.stderr
    deployed = remote("deploy", "pi", tmp_path / "theirs", "--json")
    assert deployed.returncode == 0, deployed.stderr
    done = remote("run", "--on", "pi", tmp_path / "theirs", "--data", photos, "--limit", 50, "--runs", 5, "--json")
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert run["bundle"] == "theirs"
    assert run["accuracy"]["photos"] == 50
    assert run["self_test"]["max_difference"] <= run["self_test"]["tolerance"]


@pytest.mark.installs
def test_a_machine_without_internet_takes_wheels(
    remote: Command, machine: Machine, bundles: Path, tmp_path: Path
) -> None:
    done = remote("deploy", "pi", bundles / "tflite_int8", "--wheels", tmp_path)
    assert done.returncode == InputError.exit_code
    assert "there are no wheels in it" in done.stderr
    needed = ("ai-edge-litert", "pillow", "numpy")
    command: list[str | Path] = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", tmp_path, *needed]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(machine.home / ".xedge", ignore_errors=True)
    done = remote("deploy", "pi", bundles / "tflite_int8", "--wheels", tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.installs
def test_another_runtime_and_back(remote: Command, bundles: Path) -> None:
    """What was installed before the last time is not what is installed now."""
    for name, words in (("tflite_int8", ""), ("onnx_int8", "xedge[onnxruntime]"), ("tflite_int8", "xedge[litert]")):
        done = remote("deploy", "pi", bundles / name)
        assert done.returncode == 0, done.stderr
        assert words in done.stdout


def test_the_same_photos_in_other_classes_are_another_set(tmp_path: Path) -> None:
    folders = set()
    for name in ("a", "b"):
        file = tmp_path / name / f"class_{name}" / "photo.jpg"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"the same")
        found = PhotoSet(root=tmp_path / name, files=(file,), classes=(file.parent.name,), truth=(0,))
        folder, sent = _photos(found)
        assert [one.name for one in sent] == [f"{folder}/class_{name}/photo.jpg"]
        folders.add(folder)
    assert len(folders) == 2


def test_one_run_at_a_time(machine: Machine) -> None:
    """The second is told who is first; who loses the host ends, and with it the lock."""
    asking = (
        "from xedge.remote.answers import Ran\nfrom xedge.remote.ssh import Ssh\n"
        f"ssh = Ssh(destination='pi', program={machine.ssh.program!r}, python={machine.ssh.python!r})\n"
        "ssh.ask(Ran, {'do': 'run', 'arguments': ['sleep', '600']})\n"
    )
    with subprocess.Popen([sys.executable, "-c", asking], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as other:
        until(lambda: _running(machine, "sleep 600"))
        with pytest.raises(ResourceError, match="busy with process"):
            machine.ssh.ask(Ran, {"do": "run", "arguments": ["true"]})
        other.kill()
    until(lambda: not _running(machine, "sleep 600"))
    assert machine.ssh.ask(Ran, {"do": "run", "arguments": ["true"]}).code == 0


def _running(machine: Machine, program: str) -> bool:
    """Whether a process in the machine's home runs a program."""
    found = subprocess.run(["pgrep", "-fx", program], capture_output=True, text=True, check=False).stdout.split()
    return any(Path(f"/proc/{number}/cwd").resolve().is_relative_to(machine.home) for number in found)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("../outside", tarfile.REGTYPE), ("/etc/outside", tarfile.REGTYPE), ("link", tarfile.SYMTYPE)],
    ids=["above", "from the root", "a link"],
)
def test_archive_members_cannot_land_outside(machine: Machine, name: str, kind: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"

    def feed(pipe: IO[bytes]) -> None:
        with tarfile.open(fileobj=pipe, mode="w|") as archive:
            archive.addfile(member, io.BytesIO(b""))

    with pytest.raises(ResourceError, match=r"leads out of|not a plain file"):
        machine.ssh.ask(Done, {"do": "receive", "files": {}}, feed)
    assert not (machine.home / "outside").exists()


def test_a_transfer_that_is_cut_off_leaves_nothing_half(machine: Machine) -> None:
    data = os.urandom(200_000)
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        info = tarfile.TarInfo("bundles/cut/file")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))

    def feed(pipe: IO[bytes]) -> None:
        pipe.write(whole.getvalue()[:100_000])
        pipe.flush()
        os.close(pipe.fileno())

    with pytest.raises((ResourceError, ConnectionLostError, OSError)):
        machine.ssh.ask(Done, {"do": "receive", "files": {"bundles/cut/file": "0" * 64}}, feed)
    assert not list((machine.home / ".xedge").rglob("cut/*"))


def test_arguments_reach_programs_as_they_are(machine: Machine) -> None:
    hostile = ["; touch hostile", "$(touch hostile)", "a b", "'", '"', "*", "\\"]
    program = [sys.executable, "-c", "import sys; print(sys.argv[1:])", *hostile]
    answer = machine.ssh.ask(Ran, {"do": "run", "arguments": program})
    assert answer.out.strip() == repr(hostile)
    assert not list(machine.home.rglob("hostile"))


@pytest.mark.parametrize("destination", ["-oProxyCommand=x", "", "a b"], ids=["an option", "empty", "two words"])
def test_destinations_are_no_options(destination: str) -> None:
    with pytest.raises(InputError):
        Ssh(destination=destination)


def test_a_machine_that_cannot_be_reached(remote: Command, bundles: Path, machine: Machine, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(machine.config.read_text().replace(f"Port {machine.port}", "Port 1"))
    with pytest.raises(ConnectionLostError, match="refused"):
        Ssh(destination="pi", program=("ssh", "-F", str(config))).ask(State, {"do": "state", "files": {}})
    done = remote("run", "--on", "nowhere.invalid", bundles / "tflite_int8")
    assert done.returncode == ConnectionLostError.exit_code
    assert "nowhere.invalid" in done.stderr


def test_an_unknown_host_key_is_refused(machine: Machine, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(machine.config.read_text().replace("/known", "/nothing"))
    with pytest.raises(ConnectionLostError, match=r"[Hh]ost key verification failed"):
        Ssh(destination="pi", program=("ssh", "-F", str(config))).ask(State, {"do": "state", "files": {}})


def test_the_wheel_is_the_same_each_time(tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made.append(write_wheel(tmp_path / name).read_bytes())
    assert made[0] == made[1]
