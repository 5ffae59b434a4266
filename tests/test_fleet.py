"""Several machines at once, each a real SSH server on loopback with a home of its own.

Their environments are real too, but are not installed: the Python of each is that of the tests, which has xedge.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests import fabricated
from tests.conftest import Command, run_xedge
from tests.machine import Machine, serving, until
from xedge.api.compare import read_runs
from xedge.api.documents import read_document
from xedge.bundle.opening import opened_all
from xedge.errors import SOME_FAILED, ConnectionLostError, InputError, ResourceError, UsageError
from xedge.files import sha256
from xedge.remote.address import Address
from xedge.remote.answers import Done, Ran
from xedge.remote.deploy import INSTALLED, Package, packed
from xedge.remote.fleet import Outcome, exit_code_of, on_all
from xedge.remote.fleet_run import FleetMachine, FleetRun, run_on_all, spreads_of
from xedge.remote.ssh import Ssh
from xedge.reporting.gather import gather
from xedge.reporting.page import page

FEW = ("--limit", 10, "--runs", 20, "--threads", 1)


@contextmanager
def fleet_of(folder: Path, names: list[str]) -> Iterator[dict[str, Machine]]:
    """Serve several machines, each with its own server, keys and home."""
    with ExitStack() as stack:
        made = {}
        for name in names:
            (folder / name / "home").mkdir(parents=True)
            made[name] = stack.enter_context(serving(folder / name, folder / name / "home", names={name: {}}))
        config = "".join(machine.config.read_text() for machine in made.values())
        (folder / "config").write_text(f"{config}Host gone\n  HostName 127.0.0.1\n  Port 1\n  BatchMode yes\n")
        yield made


@contextmanager
def package_of(*bundles: Path) -> Iterator[Package]:
    with opened_all(bundles) as opened, packed(opened, None, None) as package:
        yield package


def make_ready(machine: Machine, package: Package) -> None:
    """Make the environment that an installation would have made, of the Python that runs the tests."""
    folder = machine.home / ".xedge"
    (folder / "venv" / "bin").mkdir(parents=True)
    python = folder / "venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    machine.ssh.ask(Done, {"do": "seal"})
    version = ".".join(map(str, sys.version_info[:2]))
    (folder / INSTALLED).write_text(f"{package.wheel.digest} {' '.join(package.extras)} {version}\n")


def address(machine: Machine) -> Address:
    return Address(name=machine.ssh.destination, destination=machine.ssh.destination, python=sys.executable)


@contextmanager
def busy(machine: Machine) -> Iterator[None]:
    """Hold the machine's lock, as the agent does for another host."""
    with (machine.home / ".xedge" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("process 1 for 10.0.0.2")
        file.flush()
        yield


def runs_xedge(machine: Machine) -> bool:
    """Whether a bundle runs on the machine now."""
    for number in machine.processes():
        with suppress(OSError):
            if b"xedge\0run\0" in Path(f"/proc/{number}/cmdline").read_bytes():
                return True
    return False


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Iterator[dict[str, Machine]]:
    """Three machines that are ready."""
    with (
        fleet_of(tmp_path_factory.mktemp("fleet"), ["pi-a", "pi-b", "pi-c"]) as made,
        package_of(bundles / "tflite_int8") as package,
    ):
        for machine in made.values():
            make_ready(machine, package)
        yield made


@pytest.fixture
def config(fleet: dict[str, Machine], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration that names all of them, which the commands' ssh takes."""
    path = next(iter(fleet.values())).config.parent.parent / "config"
    monkeypatch.setenv("XEDGE_SSH", f"ssh -F {path}")
    return path


@pytest.fixture
def inventory(config: Path, tmp_path: Path) -> Path:
    """The three machines and one that is gone, for Ansible."""
    path = tmp_path / "boards.ini"
    path.write_text(f"[pis]\npi-[a:c]\ngone\n[pis:vars]\nansible_python_interpreter={sys.executable}\n")
    return path


def test_what_fails_on_one_board_harms_no_other(
    fleet: dict[str, Machine], inventory: Path, bundles: Path, tmp_path: Path
) -> None:
    """Two run, one is busy and one is gone; what came home is what ``compare`` and ``report`` take."""
    written = tmp_path / "fleet.json"
    command = ("run", "--fleet", inventory, bundles / "tflite_int8", *FEW, "--json", written)
    with busy(fleet["pi-c"]):
        done = run_xedge(*command)
    assert done.returncode == SOME_FAILED, done.stderr
    found = read_document(written)
    assert isinstance(found, FleetRun)
    a, b, c, gone = found.machines
    assert [one.name for one in found.machines] == ["pi-a", "pi-b", "pi-c", "gone"]
    assert c.failure is not None
    assert c.failure.message.startswith("busy with process 1 for 10.0.0.2")
    assert gone.failure is not None
    assert "refused" in gone.failure.message
    assert [c.failure.exit_code, gone.failure.exit_code] == [ResourceError.exit_code, ConnectionLostError.exit_code]
    for one in (a, b):
        assert one.runs is not None
        (run,) = one.runs.runs
        assert (run.bundle, len(run.samples_ns)) == ("tflite_int8", 20)
        assert run.accuracy is not None
        assert run.accuracy.photos == 10
        assert [stage.line.split()[0] for stage in one.transcript] == ["send", "install", "run", "done"]
        assert [stage.at_s for stage in one.transcript] == sorted(stage.at_s for stage in one.transcript)
    (spread,) = found.spreads
    assert spread.machines == ("pi-a", "pi-b")
    assert spread.p50_ms[0] <= spread.p50_ms[1] <= spread.p50_ms[2]
    assert spread.p50_ratio == pytest.approx(spread.p50_ms[2] / spread.p50_ms[0])
    assert spread.top1 is not None
    # One machine under three names: the answers are the same.
    assert spread.top1[0] == spread.top1[1]
    assert "pi-b  run        tflite_int8" in done.stdout
    assert "FAILED     gone: " in done.stdout
    assert "something failed on 2 of 4 machines" in done.stdout
    assert [one.run.bundle for one in read_runs(written)] == ["tflite_int8 on pi-a", "tflite_int8 on pi-b"]
    text = page(gather([found]))
    for words in ("tflite_int8 on pi-b", "busy with process 1", "Boards of one kind"):
        assert words in text
    # The same command may replace what it wrote; nothing is sent again, and nothing is left that holds a lock.
    assert fleet["pi-c"].ssh.ask(Ran, {"do": "run", "arguments": ["true"]}).code == 0


def test_several_are_deployed_to(fleet: dict[str, Machine], inventory: Path, config: Path, bundles: Path) -> None:
    done = run_xedge("deploy", "--fleet", inventory, bundles / "tflite_int8", "--at-once", 2, "--json")
    assert done.returncode == SOME_FAILED, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == "xedge.deploy-fleet/1"
    ready = {one["name"]: one["deployment"] for one in document["machines"]}
    assert [name for name, one in ready.items() if one is None] == ["gone"]
    for name in ("pi-a", "pi-b", "pi-c"):
        assert (fleet[name].home / ".xedge" / ready[name]["bundles"][0] / "manifest.json").is_file()
    alone = run_xedge("deploy", bundles / "tflite_int8", "--fleet", "gon?", "--on", "nowhere.invalid")
    # Nothing was done anywhere, so the code is that of the failures.
    assert alone.returncode == ConnectionLostError.exit_code
    assert "something failed on 2 of 2 machines" in alone.stdout


def test_an_interruption_ends_the_runs_everywhere(fleet: dict[str, Machine], inventory: Path, bundles: Path) -> None:
    command: list[str | Path] = [sys.executable, "-m", "xedge", "run", "--fleet", inventory, bundles / "tflite_int8"]
    command += ["--duration", "10m"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - as a terminal starts it
    ) as child:
        try:
            until(lambda: all(runs_xedge(machine) for machine in fleet.values()))
            child.send_signal(signal.SIGINT)
            began = time.monotonic()
            _, said = child.communicate(timeout=60)
        finally:
            child.kill()
    assert child.returncode == 130
    assert said.splitlines()[-1].startswith("xedge: error: interrupted")
    assert time.monotonic() - began < 30
    until(lambda: not any(runs_xedge(machine) for machine in fleet.values()))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--at-once", 2, "b"), "--at-once is for several machines"),
        (("run", "--on", "pi", "--at-once", 2, "b"), "--at-once is for several machines"),
        (("run", "--on", "pi", "--on", "pi", "b"), "pi is named twice"),
        (("run", "--on", "pi", "--on", "po", "b", "--against", "c"), "--against compares on this machine"),
        (("deploy", "pi", "b", "--at-once", 2), "--at-once is for several machines"),
    ],
    ids=["here", "one", "twice", "against", "deploy to one"],
)
def test_commands_that_make_no_sense(here: Command, arguments: tuple[object, ...], words: str) -> None:
    done = here(*arguments)
    assert done.returncode == UsageError.exit_code
    assert words in done.stderr


def test_what_is_no_destination_is_told_before_any_work(here: Command, bundles: Path) -> None:
    done = here("deploy", "--on", "pi", "--on", "-oProxyCommand=touch here", bundles / "tflite_int8")
    assert done.returncode == InputError.exit_code
    assert "is not a destination" in done.stderr


def test_files_are_hashed_once(
    fleet: dict[str, Machine], config: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []

    def counted(path: Path) -> str:
        hashed.append(path)
        return sha256(path)

    monkeypatch.setattr("xedge.remote.deploy.sha256", counted)
    with package_of(bundles / "tflite_int8") as package:
        packed_files = list(hashed)
        run_on_all([address(machine) for machine in fleet.values()], package, ("--limit", "1", "--runs", "2"))
    assert {path.name for path in hashed[len(packed_files) :]} == {INSTALLED}
    assert len(set(packed_files)) == len(packed_files) == len(package.files)


def test_what_came_home_before_the_connection_was_lost_is_kept(bundles: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """The server goes down between the first bundle and the second."""
    with (
        fleet_of(tmp_path, ["pi"]) as made,
        package_of(bundles / "tflite_int8", bundles / "tflite_fp32", bundles / "tflite_fp16") as package,
    ):
        make_ready(made["pi"], package)
        monkeypatch.setenv("XEDGE_SSH", f"ssh -F {tmp_path / 'config'}")

        def told(line: str) -> None:
            if "run        tflite_fp32" in line:
                made["pi"].close()

        found = run_on_all([address(made["pi"])], package, ("--limit", "1", "--runs", "2"), report=told)
    (machine,) = found.machines
    assert machine.runs is not None
    assert [run.bundle for run in machine.runs.runs] == ["tflite_int8"]
    assert {name: one.exit_code for name, one in found.failures.items()} == {
        "pi: tflite_fp32": ConnectionLostError.exit_code,
        "pi: tflite_fp16": ConnectionLostError.exit_code,
    }
    assert found.exit_code == SOME_FAILED


def worked(work: Callable[[Ssh, Callable[[str], None]], int], count: int, at_once: int) -> list[Outcome[int]]:
    return on_all([Address(name=f"pi{n}", destination=f"pi{n}") for n in range(count)], work, at_once)


def test_no_more_than_so_many_are_worked_on_at_once() -> None:
    at_work, most, lock = set(), [], threading.Lock()

    def work(ssh: Ssh, say: Callable[[str], None]) -> int:
        with lock:
            at_work.add(ssh.destination)
            most.append(len(at_work))
        say("works")
        time.sleep(0.02)
        with lock:
            at_work.remove(ssh.destination)
        return int(ssh.destination[2:])

    assert [one.result for one in worked(work, 12, 3)] == list(range(12))
    assert max(most) == 3


def test_a_fault_on_one_board_is_told_and_the_others_go_on() -> None:
    def work(ssh: Ssh, say: Callable[[str], None]) -> int:
        del say
        if ssh.destination == "pi1":
            raise ZeroDivisionError("no such figure")
        return 1

    zero, one, two = worked(work, 3, 2)
    assert (zero.result, one.result, two.result) == (1, None, 1)
    assert one.failure is not None
    assert one.failure.exit_code == 1
    assert "ZeroDivisionError: no such figure" in one.failure.message


@pytest.mark.parametrize(
    ("codes", "code"), [((0, 0), 0), ((0, 10), SOME_FAILED), ((7, 10), 10), ((7, 7), 7), ((SOME_FAILED, 10), 11)]
)
def test_the_exit_code_tells_some_from_all(codes: tuple[int, ...], code: int) -> None:
    assert exit_code_of(codes) == code


def a_machine(name: str, *runs: Any) -> FleetMachine:
    return FleetMachine(
        name=name, destination=name, runs=fabricated.remote_run(*runs, failures={}), failure=None, transcript=()
    )


def test_boards_of_one_kind_are_compared_and_others_are_not() -> None:
    """Revisions of a board are one kind; another number of cores or an emulated board is another."""

    def run(median_ms: float, model: str, **changes: Any) -> Any:
        return fabricated.run(median_ms, board=fabricated.board(model=model, **changes))

    machines = [
        a_machine("a", run(2.0, "Raspberry Pi 4 Model B Rev 1.4")),
        a_machine("b", run(3.0, "Raspberry Pi 4 Model B Rev 1.5")),
        a_machine("c", run(9.0, "Raspberry Pi 4 Model B Rev 1.4", cores=1)),
        a_machine("d", run(9.0, "Raspberry Pi 4 Model B Rev 1.4", emulated=True)),
        a_machine("e", run(1.0, "Raspberry Pi 5 Model B Rev 1.0")),
    ]
    (spread,) = spreads_of(machines)
    assert (spread.kind, spread.machines) == ("Raspberry Pi 4 Model B", ("a", "b"))
    assert spread.p50_ratio == pytest.approx(1.5, rel=0.05)
    assert spread.p50_ms[1] == pytest.approx(2.5, rel=0.05)


TWENTY = [f"pi{number:02}" for number in range(20)]
VANISH, HANG, BUSY, FULL, DOWN = TWENTY[2:5], TWENTY[5:6], TWENTY[7], TWENTY[8], TWENTY[9]


@contextmanager
def full(machine: Machine) -> Iterator[None]:
    """Put a disk of 1 MB in the place of the agent's folder."""
    folder = machine.home / ".xedge"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    yield
    subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_twenty_boards_of_which_some_vanish(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three vanish while they run, one falls silent, one is busy, one is full and one is down from the beginning."""
    written, inventory = tmp_path / "fleet.json", tmp_path / "boards.ini"
    inventory.write_text(f"pi[00:19]\n[all:vars]\nansible_python_interpreter={sys.executable}\n")
    with fleet_of(tmp_path, TWENTY) as made, package_of(bundles / "tflite_int8") as package, ExitStack() as stack:
        for machine in made.values():
            make_ready(machine, package)
        monkeypatch.setenv("XEDGE_SSH", f"ssh -F {tmp_path / 'config'}")
        monkeypatch.setenv("XEDGE_SSH_TIMEOUT", "40")
        stack.enter_context(busy(made[BUSY]))
        stack.enter_context(full(made[FULL]))
        made[DOWN].close()
        stopped: list[int] = []

        def strike(name: str) -> None:
            machine = made[name]
            until(lambda: runs_xedge(machine))
            sessions = machine.sessions()
            for number in sessions:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGSTOP if name in HANG else signal.SIGKILL)
            stopped.extend(sessions if name in HANG else ())

        strikes = [threading.Thread(target=strike, args=(name,)) for name in (*VANISH, *HANG)]
        for one in strikes:
            one.start()
        done = run_xedge(
            "run", "--fleet", inventory, bundles / "tflite_int8", "--limit", 10, "--duration", "3s", "--json", written
        )
        for one in strikes:
            one.join()
        for number in stopped:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
    assert done.returncode == SOME_FAILED, done.stdout + done.stderr
    found = read_document(written)
    failed = {name: one.exit_code for name, one in found.failures.items()}
    lost = dict.fromkeys([*VANISH, *HANG, DOWN], ConnectionLostError.exit_code)
    refused = dict.fromkeys([BUSY, FULL], ResourceError.exit_code)
    assert failed == lost | refused, found.failures
    assert "no space left" in found.failures[FULL].message
    assert "nothing was heard for 40 s" in found.failures[HANG[0]].message
    assert [one.name for one in found.machines] == TWENTY
    assert len(found.runs) == 13
    assert len(found.spreads[0].machines) == 13
    assert "something failed on 7 of 20 machines" in done.stdout
