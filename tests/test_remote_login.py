"""What a login shell, a broken Python or a lost connection on another machine does to the conversation with it.

The shells, the server and the connections are real. Whatever happens ends with an answer or with one line, and in time.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Command
from tests.machine import Machine, serving, until
from xedge.errors import BundleError, ConnectionLostError, MissingRuntimeError, ResourceError, UsageError, XedgeError
from xedge.remote.answers import Ran, Refused, State, parsed
from xedge.remote.conversation import Limits
from xedge.remote.deploy import Deployed
from xedge.remote.frames import Answer, FrameError, Sign, frames
from xedge.remote.ssh import Ssh

STATE = {"do": "state", "files": {}}
MARKER = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    (folder / "home").mkdir()
    with serving(folder, folder / "home") as made:
        yield made


@pytest.fixture
def bashrc(machine: Machine) -> Iterator[Callable[[str], None]]:
    """Write what the login shell does before the command; afterwards, what it left there is ended."""

    def write(text: str) -> None:
        (machine.home / ".bashrc").write_text(f"{text}\n")

    yield write
    (machine.home / ".bashrc").unlink(missing_ok=True)
    for number in machine.processes():
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def hasty(machine: Machine, **limits: Any) -> Ssh:
    """Return the connection with limits that a test can wait for."""
    return replace(machine.ssh, limits=replace(Limits(start_s=5, silence_s=5), **limits))


SPOKEN = {
    "an answer": """echo '{"python": "2.7", "machine": "forged", "have": [], "works": true}'""",
    "a framed answer": f"printf '\\n{MARKER} ready\\n{MARKER} answer 2 {hashlib.sha256(b'{}').hexdigest()}\\n{{}}'",
    "no line": "printf hello",
    "bytes": "head -c 100000 /dev/urandom",
    "nearly too much": "head -c 990000 /dev/zero",
    "errors": "head -c 5000000 /dev/zero >&2",
    "its commands": """trap 'echo "$BASH_COMMAND"' DEBUG""",
    "later": "(sleep 0.2; echo late) & (sleep 60) &",
    "reads for a while": "read -t 0.5 line",
    "changes folder": "cd /",
}


@pytest.mark.parametrize("text", SPOKEN.values(), ids=SPOKEN.keys())
def test_what_a_login_shell_prints_is_not_believed(machine: Machine, bashrc: Callable[[str], None], text: str) -> None:
    bashrc(text)
    begun = time.monotonic()
    answer = hasty(machine, start_s=30).ask(State, STATE)
    assert answer.machine == os.uname().machine
    assert answer.version == sys.version_info[:2]
    assert time.monotonic() - begun < 30


SETTINGS = {
    "a terminal": "RequestTTY force",
    "a command": "RemoteCommand sleep 600",
    "a shared connection": "ControlMaster auto\n  ControlPath {folder}/%C\n  ControlPersist 20",
    "compression": "Compression yes",
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS.keys())
def test_settings_of_the_user_are_no_obstacle(machine: Machine, tmp_path: Path, setting: str) -> None:
    config = tmp_path / "config"
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as short:  # The path of a socket has at most about 100 characters.
        config.write_text(f"{machine.config.read_text()}  {setting.format(folder=short)}\n")
        ssh = replace(hasty(machine, start_s=30), program=("ssh", "-F", str(config)))
        for _ in range(2):
            assert ssh.ask(Ran, {"do": "run", "arguments": ["echo", "1"]}).out == "1\n"
        subprocess.run(["ssh", "-F", config, "-O", "exit", "pi"], capture_output=True, check=False)
    assert time.monotonic() - begun < 30


STUCK = {
    "prints 5 MB": ("head -c 5000000 /dev/zero", "prints more than 1 MB; make ~/.bashrc there silent"),
    "prints for ever": ("yes", "prints more than 1 MB; make ~/.bashrc there silent"),
    "prints a little for ever": ("while sleep 0.2; do echo; done", "make ~/.bashrc there silent"),
    "reads all": ("cat >/dev/null", "no sign of Python there after 3 s"),
    "reads a line": ("read line", "if the login shell there reads"),
    "sleeps": ("sleep 600", "no sign of Python there after 3 s"),
    "mute": ("exec >/dev/null", "no sign of Python there after 3 s"),
    "ends": ("exit 0", "did not start there (ssh ended with 0)"),
    "fails": ("echo 'no such disk' >&2; exit 1", "did not start there (no such disk)"),
    "dies": ("kill -9 $$", "said nothing; try ssh pi python3 --version"),
    "without input": ("exec </dev/null", "the request did not arrive whole"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("text", "words"), STUCK.values(), ids=STUCK.keys())
def test_a_login_shell_that_is_in_the_way_is_told(
    machine: Machine,
    bashrc: Callable[[str], None],
    here: Command,
    bundles: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    words: str,
) -> None:
    bashrc(text)
    monkeypatch.setenv("XEDGE_SSH", f"ssh -F {machine.config}")
    monkeypatch.setenv("XEDGE_SSH_TIMEOUT", "3")
    begun = time.monotonic()
    done = here("deploy", "pi", bundles / "tflite_int8")
    assert done.returncode == ConnectionLostError.exit_code
    assert done.stderr.startswith("xedge: error: pi: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf", "1e999"])
def test_a_limit_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("XEDGE_SSH_TIMEOUT", text)
    with pytest.raises(UsageError, match="number of seconds"):
        Ssh(destination="pi")


def framed(data: bytes, marker: str = MARKER) -> bytes:
    return f"\n{marker} answer {len(data)} {hashlib.sha256(data).hexdigest()}\n".encode() + data


def read(data: bytes, size: int, **limits: int) -> list[Sign | Answer]:
    """Read frames from bytes that arrive in parts of a size."""
    parts = iter([data[start : start + size] for start in range(0, len(data), size)])
    known = {"most_noise": 1000, "largest_answer": 1000} | limits
    found = list(frames(lambda: next(parts, b""), MARKER, **known))
    # How many signs of life an answer gives while it arrives depends on the parts.
    return [one for one in found if one is not Sign.ALIVE]


@given(noise=st.binary(max_size=300), data=st.binary(max_size=300), size=st.integers(1, 400))
def test_frames_are_found_in_any_noise(noise: bytes, data: bytes, size: int) -> None:
    start = f"\n{MARKER} ".encode()
    sent = noise + start + b"ready\n" + noise + start + b"alive\n" + start + b"alive\n" + framed(data) + noise
    assert read(sent, size) == [Sign.READY, Answer(data=data)]


@pytest.mark.parametrize("size", [1, 7, 5000])
@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"x" * 1001 + framed(b"{}"), "more than 0.001 MB"),
        (f"\n{MARKER} no frame\n".encode() * 50, "more than 0.001 MB"),
        (framed(b"x" * 1001), "0.001 MB is the limit"),
        (framed(b"{}")[:-2] + b"[]", "arrived damaged"),
    ],
    ids=["noise", "marked noise", "large", "damaged"],
)
def test_frames_have_limits(sent: bytes, words: str, size: int) -> None:
    with pytest.raises(FrameError, match=words):
        read(sent, size)


@pytest.mark.parametrize(
    "sent",
    [b"", framed(b"x" * 500)[:-1], framed(b"")[:-1], f"\n{MARKER} answer -1 {'0' * 64}\n".encode(), framed(b"", "0")],
    ids=["nothing", "cut off", "cut off in the line", "a negative length", "another marker"],
)
def test_half_a_frame_is_none(sent: bytes) -> None:
    assert read(sent, 100) == []


ANSWERS: dict[type, dict[str, Any]] = {
    State: {"python": "3.11", "machine": "x86_64", "have": [0, 1], "works": True},
    Ran: {"code": 0, "out": "", "err": ""},
    Refused: {"refused": "busy"},
}
WRONG: tuple[Any, ...] = ({}, 1.5, [["0"]], [None])
FIELDS = [(kind, field.name) for kind in ANSWERS for field in fields(kind)]


@pytest.mark.parametrize(("kind", "name"), FIELDS, ids=[f"{kind.__name__}.{name}" for kind, name in FIELDS])
def test_every_field_of_an_answer_is_checked(kind: type, name: str) -> None:
    good = ANSWERS[kind]
    assert parsed(kind, json.dumps(good))[1] == good
    with pytest.raises(BundleError, match=rf"\$\.{name}: is missing"):
        parsed(kind, json.dumps({key: value for key, value in good.items() if key != name}))
    for wrong in WRONG:
        with pytest.raises(BundleError, match=rf"\$\.{name}"):
            parsed(kind, json.dumps(good | {name: wrong}))


def ran(code: str = "0", out: str = '""') -> str:
    return f'{{"code": {code}, "out": {out}, "err": ""}}'


NO_ANSWERS = {
    "empty": "",
    "null": "null",
    "a list": "[]",
    "a text": '"done"',
    "cut off": ran()[:-1],
    "another field": ran()[:-1] + ', "more": 1}',
    "not a number": ran(code="NaN"),
    "infinite": ran(code="1e999"),
    "many digits": ran(code="9" * 5000),
    "half a character": ran(out='"\\ud800"'),
    "nested": ran(out="[" * 200_000 + "]" * 200_000),
    "bytes": "\udcff\udcfe",
}


@pytest.mark.parametrize("text", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
def test_what_is_no_answer_is_told(text: str) -> None:
    with pytest.raises(BundleError) as error:
        parsed(Ran, text.encode("utf-8", "surrogateescape"))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("version", ["", "3", "3.x", "3.11.1", "٣.11", "-3.11", "3." + "1" * 5000])
def test_a_version_is_two_numbers(version: str) -> None:
    with pytest.raises(BundleError, match="should be a version"):
        parsed(State, json.dumps(ANSWERS[State] | {"python": version}))


# Python there that answers with what lies in a file, framed as the agent frames its answers.
FAKE = """#!{python}
import hashlib, os, sys
marker, size = sys.argv[4], int(sys.argv[5])
os.write(1, ("\\n%s ready\\n" % marker).encode())
sys.stdin.buffer.read(size)
data = open({file!r}, "rb").read()
digest = hashlib.sha256(data).hexdigest()
{then}
"""
HEADER = 'os.write(1, ("\\n%s answer %d %s\\n" % (marker, len(data), digest)).encode())\n'


@pytest.fixture
def pretending(machine: Machine, tmp_path: Path) -> Callable[..., Ssh]:
    """Return a connection to a machine whose Python only pretends to run the agent."""

    def made(data: bytes = b"", then: str = HEADER + "os.write(1, data)") -> Ssh:
        (tmp_path / "answer").write_bytes(data)
        python = tmp_path / "python"
        python.write_text(FAKE.format(python=sys.executable, file=str(tmp_path / "answer"), then=then))
        python.chmod(0o755)
        return replace(hasty(machine), python=str(python))

    return made


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", r"its answer is not one of xedge's agent \(it is not JSON"),
        (b'{"machine": "x", "have": [], "works": null}', r"\(\$\.python: is missing\); look at what /"),
        (b'{"python": 3.11, "machine": "x", "have": [], "works": null}', r"\$\.python: should be a text"),
        (b'{"refused": 1}', r"\$\.refused: should be a text"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"python": "\xff"}', "not JSON"),
    ],
    ids=["empty", "missing", "mistyped", "a refusal", "nested", "bytes"],
)
def test_answers_of_others_are_told(pretending: Callable[..., Ssh], data: bytes, words: str) -> None:
    with pytest.raises(ConnectionLostError, match=words) as error:
        pretending(data).ask(State, STATE)
    assert str(error.value).startswith("pi: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "words"),
    [
        ("os._exit(3)", r"ended without an answer \(ssh ended with 3\)"),
        ("sys.exit('out of memory')", r"ended without an answer \(out of memory\)"),
        (HEADER + "os.write(1, data[:-1])", "ended without an answer"),
        (HEADER + "os.write(1, data[::-1])", "arrived damaged"),
        ("data += bytes(70_000_000)\n" + HEADER, "has 70 MB, but 64 MB is the limit"),
        ("os.close(1); import time; time.sleep(600)", "nothing was heard for 5 s|closed from there"),
        ("import time; time.sleep(600)", "nothing was heard for 5 s"),
        ("os.kill(os.getppid(), 9); os._exit(1)", "^pi: "),
    ],
    ids=["ends", "says why", "cut off", "damaged", "large", "closes", "hangs", "kills the session"],
)
def test_a_python_that_does_not_answer_is_told(
    pretending: Callable[..., Ssh], bashrc: Callable[[str], None], then: str, words: str
) -> None:
    del bashrc  # It ends what hangs there.
    begun = time.monotonic()
    with pytest.raises(ConnectionLostError, match=words):
        pretending(b'{"a": 1}', then).ask(State, STATE)
    assert time.monotonic() - begun < 25


DOCUMENTS = {
    "nothing": ("", 0, MissingRuntimeError, "it is not JSON"),
    "a missing field": ('{"python": "3.11"}', 0, MissingRuntimeError, "is missing"),
    "not a number": ('{"python": NaN}', 0, MissingRuntimeError, "NaN is not a number"),
    "nested": ("[" * 200_000, 0, MissingRuntimeError, "nested too deeply"),
    "an error": ("", 5, XedgeError, "pi: it failed"),
    "a fault": ("Traceback", -6, XedgeError, "pi: it failed"),
    "too much": ("x" * 300_000, 0, ResourceError, "printed more than 0.2 MB"),
}


@pytest.mark.parametrize(("text", "code", "kind", "words"), DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_documents_of_xedge_there_are_checked(
    machine: Machine, text: str, code: int, kind: type[XedgeError], words: str
) -> None:
    """The agent and the connection are real; what it runs in place of xedge prints the document."""
    python = machine.home / ".xedge" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    (python.parent / "document").write_text(text)
    python.write_text(f'#!/bin/sh\ncat "{python.parent}/document"\n[ {code} = 0 ] || echo it failed >&2\n')
    with python.open("a") as file:
        file.write(f"kill {code} $$\nsleep 9\n" if code < 0 else f"exit {code}\n")
    python.chmod(0o755)
    ready = Deployed(ssh=hasty(machine, answer_bytes=200_000), bundles=(), photos=None, machine="x86_64", python="3.11")
    if kind is MissingRuntimeError and text.startswith("["):
        ready = replace(ready, ssh=hasty(machine))
    with pytest.raises(kind, match=words) as error:
        ready.xedge(State, "run")
    assert "\n" not in str(error.value)
    assert error.value.exit_code != 0


def asking(ssh: Ssh, arguments: list[str]) -> tuple[threading.Thread, list[Exception]]:
    """Ask for a program to be run, in a thread, and keep the error."""
    errors: list[Exception] = []

    def ask() -> None:
        try:
            ssh.ask(Ran, {"do": "run", "arguments": arguments})
        except XedgeError as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, errors


def running(machine: Machine, program: str) -> list[int]:
    """Return the processes there that run a program."""
    listed = subprocess.run(["pgrep", "-fx", program], capture_output=True, text=True, check=False).stdout.split()
    return [number for number in machine.processes() if str(number) in listed]


def test_a_session_that_is_killed_is_told(machine: Machine) -> None:
    thread, errors = asking(hasty(machine), ["sleep", "601"])
    until(lambda: bool(running(machine, "sleep 601")))
    for number in machine.sessions():
        os.kill(number, signal.SIGKILL)
    thread.join(30)
    assert isinstance(errors[0], ConnectionLostError)
    until(lambda: not machine.processes())
    assert hasty(machine).ask(Ran, {"do": "run", "arguments": ["true"]}).code == 0


@pytest.mark.slow
def test_an_agent_that_hangs_is_told(machine: Machine) -> None:
    thread, errors = asking(hasty(machine), ["sleep", "602"])
    until(lambda: bool(running(machine, "sleep 602")))
    # Whatever runs there stands still, as on a machine that has run out of memory.
    stopped = machine.processes()
    for number in stopped:
        os.kill(number, signal.SIGSTOP)
    thread.join(30)
    assert "nothing was heard for 5 s" in str(errors[0])
    # The system itself lets processes go on, and ends them, when the session to which they belong is gone.
    for number in stopped:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGCONT)
    until(lambda: not machine.processes())


@pytest.mark.slow
def test_a_run_that_is_longer_than_the_limit_is_no_silence(machine: Machine) -> None:
    ssh = hasty(machine, silence_s=2)
    assert ssh.ask(Ran, {"do": "run", "arguments": ["sleep", "5"]}).code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "the end of the host"])
def test_an_interruption_leaves_no_process_there(machine: Machine, number: signal.Signals) -> None:
    code = (
        "import sys\nfrom xedge.remote.answers import Ran\nfrom xedge.remote.ssh import Ssh\n"
        # A shell may have started these tests in the background, where it ignores the signal.
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from xedge.cli.main import interruptible\ninterruptible()\n"
        f"ssh = Ssh(destination='pi', program={machine.ssh.program!r}, python={machine.ssh.python!r})\n"
        "try:\n    ssh.ask(Ran, {'do': 'run', 'arguments': ['sleep', '603']})\n"
        "except KeyboardInterrupt:\n    sys.exit(130)\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as host:
        until(lambda: bool(running(machine, "sleep 603")))
        # A terminal interrupts ssh as well.
        os.killpg(host.pid, number)
        _, err = host.communicate(timeout=60)
    assert host.returncode == 130
    assert b"Traceback" not in err
    until(lambda: not machine.processes())
