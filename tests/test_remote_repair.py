"""What was damaged on another machine is made again by the next attempt, or told in one line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from tests.conftest import Command
from tests.machine import Machine, serving, until
from xedge.errors import MissingRuntimeError, ResourceError
from xedge.files import sha256
from xedge.remote.answers import Done, Ran, State
from xedge.remote.conversation import Limits
from xedge.remote.deploy import _failed
from xedge.remote.ssh import Ssh

CHECK = {"do": "state", "files": {}, "check": True}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    (folder / "home").mkdir()
    with serving(folder, folder / "home") as made:
        yield made


@pytest.fixture
def machine(server: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with nothing on it, which the commands' ssh knows as ``pi``."""
    for path in server.home.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    monkeypatch.setenv("XEDGE_SSH", f"ssh -F {server.config}")
    return server


@pytest.fixture
def ssh(machine: Machine) -> Ssh:
    return replace(machine.ssh, limits=Limits(start_s=30, silence_s=30))


def sealed(machine: Machine, ssh: Ssh, program: str = "exit 0") -> Path:
    """Make a small environment whose Python is a shell script, seal it, and return the agent's folder."""
    folder = machine.home / ".xedge"
    (folder / "venv" / "bin").mkdir(parents=True)
    (folder / "venv" / "lib").mkdir()
    (folder / "venv" / "lib" / "package.py").write_text("value = 1\n")
    python = folder / "venv" / "bin" / "python"
    python.write_text(f"#!/bin/sh\n{program}\n")
    python.chmod(0o755)
    ssh.ask(Done, {"do": "seal"})
    return folder


def send(ssh: Ssh, files: dict[str, Path]) -> None:
    """Send files, by their names there."""

    def feed(pipe: IO[bytes]) -> None:
        with tarfile.open(fileobj=pipe, mode="w|") as archive:
            for name, path in files.items():
                archive.add(path, name)

    ssh.ask(Done, {"do": "receive", "files": {name: sha256(path) for name, path in files.items()}}, feed)


def inflict(damage: str, folder: Path) -> None:
    """Run a line of shell in a folder."""
    subprocess.run(["sh", "-c", damage], cwd=folder, check=True)


DAMAGE = {
    "no environment": "rm -r venv",
    "no Python": "rm venv/bin/python",
    "Python is empty": ": > venv/bin/python",
    "Python is a dangling link": "ln -sf /usr/bin/python2.4 venv/bin/python",
    "Python cannot be executed": "chmod -x venv/bin/python",
    "xedge cannot be imported": "sed -i 's/exit 0/exit 1/' venv/bin/python",
    "a file is missing": "rm venv/lib/package.py",
    "a file is empty": ": > venv/lib/package.py",
    "a file where a folder was": "rm -r venv/lib; echo > venv/lib",
    "the environment is a file": "rm -r venv; echo > venv",
    "no list": "rm venv.files",
    "an empty list": ": > venv.files",
    "a list of nothing": "echo '{}' > venv.files",
    "another list": "echo '[1]' > venv.files",
    "a deep list": "head -c 100000 /dev/zero | tr '\\0' '[' > venv.files",
    "bytes for a list": "head -c 1000 /dev/urandom > venv.files",
    "the list is a folder": "rm venv.files; mkdir venv.files",
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_environment_is_noticed(machine: Machine, ssh: Ssh, damage: str) -> None:
    folder = sealed(machine, ssh)
    assert ssh.ask(State, CHECK).works is True
    inflict(damage, folder)
    assert ssh.ask(State, CHECK).works is False
    # What is there now is no obstacle for making it again.
    ssh.ask(Done, {"do": "remove", "name": "venv"})
    assert not (folder / "venv").exists()
    sealed(machine, ssh)
    assert ssh.ask(State, CHECK).works is True


def test_files_of_others_in_the_environment_are_no_damage(machine: Machine, ssh: Ssh) -> None:
    folder = sealed(machine, ssh)
    (folder / "venv" / "lib" / "more.py").write_text("")
    assert ssh.ask(State, CHECK).works is True


LOCKS = {
    "bytes": "head -c 5000 /dev/urandom > lock",
    "control characters": "printf '\\033[2J\\007\\r\\n' > lock",
    "not readable": ": > lock; chmod 0 lock",
    "a folder": "mkdir -p lock/inner",
}


@pytest.mark.parametrize("damage", LOCKS.values(), ids=LOCKS.keys())
def test_a_damaged_lock_is_no_obstacle(machine: Machine, ssh: Ssh, damage: str) -> None:
    (machine.home / ".xedge").mkdir()
    inflict(damage, machine.home / ".xedge")
    assert ssh.ask(Ran, {"do": "run", "arguments": ["true"]}).code == 0


def test_who_holds_the_lock_is_told_without_control_characters(machine: Machine, ssh: Ssh) -> None:
    lock = machine.home / ".xedge" / "lock"
    lock.parent.mkdir()
    lock.write_bytes(b"\x1b[31mpro\x07cess\xff 1\n" + b"\xe2\x80\xaetxt" + b"x" * 1_000_000)
    with subprocess.Popen(["flock", lock, "sleep", "604"], start_new_session=True) as holder:
        until(lambda: subprocess.run(["flock", "-n", lock, "true"], check=False).returncode != 0)
        with pytest.raises(ResourceError) as error:
            ssh.ask(Ran, {"do": "run", "arguments": ["true"]})
        os.killpg(holder.pid, signal.SIGKILL)
    assert str(error.value).startswith("pi: busy with [31mprocess")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400


def test_what_is_in_the_way_of_files_is_replaced(machine: Machine, ssh: Ssh, tmp_path: Path) -> None:
    folder = machine.home / ".xedge"
    (folder / "bundles" / "one" / "model").mkdir(parents=True)
    (folder / "bundles" / "one" / "model" / "inner").write_text("")
    (folder / "photos").write_text("a file where a folder should be")
    (folder / "bundles" / "one" / "labels.part123").write_text("of an agent that was killed")
    (tmp_path / "file").write_text("content")
    send(ssh, {"bundles/one/model": tmp_path / "file", "photos/a/b.jpg": tmp_path / "file"})
    assert (folder / "bundles" / "one" / "model").read_text() == "content"
    assert (folder / "photos" / "a" / "b.jpg").read_text() == "content"
    assert not list(folder.rglob("*.part*"))


def test_files_that_do_not_arrive_are_told(ssh: Ssh, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")

    def feed(pipe: IO[bytes]) -> None:
        with tarfile.open(fileobj=pipe, mode="w|"):
            pass

    with pytest.raises(ResourceError, match="1 files did not arrive"):
        ssh.ask(Done, {"do": "receive", "files": {"file": sha256(tmp_path / "file")}}, feed)


def test_a_file_in_place_of_the_folder_is_told(machine: Machine, ssh: Ssh) -> None:
    """It may be the user's own, and is left."""
    (machine.home / ".xedge").write_text("mine")
    with pytest.raises(ResourceError, match=r"\.xedge is a file there, but should be a folder; move it away"):
        ssh.ask(Ran, {"do": "run", "arguments": ["true"]})
    assert (machine.home / ".xedge").read_text() == "mine"


@pytest.fixture
def small_disk(machine: Machine) -> Iterator[Path]:
    """Mount a disk of 1 MB as the agent's folder."""
    folder = machine.home / ".xedge"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_told(machine: Machine, ssh: Ssh, small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(2_000_000))
    (tmp_path / "small").write_bytes(os.urandom(700_000))
    send(ssh, {"venv/small": tmp_path / "small"})
    with pytest.raises(ResourceError, match=r"no space left on the disk there; free some"):
        send(ssh, {"bundles/large": tmp_path / "large"})
    assert not list(small_disk.rglob("*.part*"))
    # With not a byte left, room can still be made.
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "filler").write_bytes(bytes(1 << 20))
    (small_disk / "lock").unlink()
    ssh.ask(Done, {"do": "remove", "name": "venv"})
    send(ssh, {"bundles/small": tmp_path / "small"})


def test_a_disk_that_cannot_be_written_to_is_told(machine: Machine, ssh: Ssh, small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for request in ({"do": "remove", "name": "venv"}, {"do": "seal"}, {"do": "run", "arguments": ["true"]}):
        with pytest.raises(ResourceError, match="Read-only file system"):
            ssh.ask(Done, request)
    assert ssh.ask(State, CHECK).works is False


def test_a_python_without_venv_is_told() -> None:
    """As Debian's packages print it."""
    out = (
        "The virtual environment was not created successfully because ensurepip is not available.  On Debian/Ubuntu\n"
        "systems, you need to install the python3-venv package using the following command.\n\n    apt install "
        "python3.11-venv\n\nFailing command: /root/.xedge/venv/bin/python3\n\n"
    )
    error = _failed("pi", Ran(code=1, out=out, err=""), of_xedge=False)
    assert error.exit_code == MissingRuntimeError.exit_code
    assert str(error).endswith("install python3-venv (sudo apt install python3-venv)")


def venv_python(machine: Machine) -> Path:
    return machine.home / ".xedge" / "venv" / "bin" / "python"


def packages(machine: Machine) -> Path:
    return next((machine.home / ".xedge" / "venv" / "lib").glob("python3*")) / "site-packages"


@pytest.fixture(scope="module")
def installed(server: Machine, tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Path:
    """The agent's folder after a deployment, kept beside."""
    kept = tmp_path_factory.mktemp("kept") / ".xedge"
    environment = {**os.environ, "XEDGE_SSH": f"ssh -F {server.config}"}
    command: list[str | Path] = [sys.executable, "-m", "xedge", "deploy", "pi", bundles / "tflite_int8"]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    (server.home / ".xedge").rename(kept)
    return kept


REAL_DAMAGE = {
    "no pip": "rm -r venv/lib/python3*/site-packages/pip",
    "no xedge": "rm -r venv/lib/python3*/site-packages/xedge",
    "an empty file of NumPy": "truncate -s 0 venv/lib/python3*/site-packages/numpy/__init__.py",
    "no Python": "rm venv/bin/python",
    "files for folders": "rm -r venv bundles; echo > venv; echo > bundles",
}


@pytest.mark.installs
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(damage, id=name, marks=() if name in ("no pip", "no Python") else pytest.mark.further)
        for name, damage in REAL_DAMAGE.items()
    ],
)
def test_the_next_deployment_repairs(
    machine: Machine, installed: Path, here: Command, bundles: Path, damage: str
) -> None:
    shutil.copytree(installed, machine.home / ".xedge", symlinks=True)
    untouched = here("deploy", "pi", bundles / "tflite_int8")
    assert "install    as before" in untouched.stdout
    inflict(damage, machine.home / ".xedge")
    done = here("deploy", "pi", bundles / "tflite_int8")
    assert done.returncode == 0, done.stderr
    assert "in a new environment" in done.stdout
    assert "install    as before" in here("deploy", "pi", bundles / "tflite_int8").stdout


@pytest.mark.installs
def test_a_change_that_fails_is_tried_from_nothing(
    machine: Machine, installed: Path, here: Command, bundles: Path
) -> None:
    """pip does not work, which nobody knew when the environment was sealed."""
    shutil.copytree(installed, machine.home / ".xedge", symlinks=True)
    (packages(machine) / "pip" / "__main__.py").write_text("raise SystemExit('no pip')\n")
    machine.ssh.ask(Done, {"do": "seal"})
    done = here("deploy", "pi", bundles / "onnx_int8")
    assert done.returncode == 0, done.stderr
    assert "failed in the environment that is there" in done.stdout
    assert "in a new environment" in done.stdout


@pytest.mark.installs
def test_a_second_failure_is_told_in_one_line(
    machine: Machine, installed: Path, here: Command, bundles: Path, tmp_path: Path
) -> None:
    """Without a wheel of the runtime neither way can succeed; with it, the next attempt does."""
    shutil.copytree(installed, machine.home / ".xedge", symlinks=True)
    (tmp_path / "nothing-1-py3-none-any.whl").write_bytes(b"")
    done = here("deploy", "pi", bundles / "onnx_int8", "--wheels", tmp_path)
    assert done.returncode == MissingRuntimeError.exit_code
    assert done.stderr.startswith("xedge: error: pi: ")
    assert done.stderr.count("\n") == 1
    done = here("deploy", "pi", bundles / "onnx_int8")
    assert done.returncode == 0, done.stderr


@pytest.mark.installs
def test_an_installation_that_is_interrupted_is_made_again(machine: Machine, here: Command, bundles: Path) -> None:
    command: list[str | Path] = [sys.executable, "-m", "xedge", "deploy", "pi", bundles / "tflite_int8"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - as a terminal starts it
    ) as host:
        # In the middle: pip is there, and what it installs is not.
        until(lambda: venv_python(machine).exists() and (packages(machine) / "pip" / "__main__.py").exists())
        os.killpg(host.pid, signal.SIGINT)
        _, err = host.communicate(timeout=60)
    assert host.returncode == 130
    assert err.count(b"\n") == 1
    until(lambda: not machine.processes())
    assert machine.ssh.ask(State, CHECK).works is False
    done = here("deploy", "pi", bundles / "tflite_int8")
    assert done.returncode == 0, done.stderr
