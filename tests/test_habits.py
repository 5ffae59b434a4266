"""How the command behaves on a terminal, in a pipe, in a shell, and when it is at fault itself."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests import fabricated
from tests.conftest import Command, run_xedge
from xedge.cli.console import Console
from xedge.cli.main import main
from xedge.errors import ResourceError
from xedge.vocabulary import BY_NAME_ONLY, PRECISIONS

DOCS = Path(__file__).parent.parent / "docs"


def test_converting_in_too_little_address_space_is_refused(tmp_path: Path) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (400 << 20,) * 2)\n"
        "from xedge.cli.main import main\nsys.exit(main(['convert', '--target', 'onnx', '--precision', 'int8']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 7
    assert "the address space is limited to 400 MiB" in done.stderr


def on_a_terminal(*arguments: object, **environment: str) -> str:
    """Return what a command prints on a terminal, both streams together."""
    master, slave = pty.openpty()
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "KERAS_BACKEND", "CI")}
    program = [sys.executable, "-m", "xedge", *map(str, arguments)]
    with subprocess.Popen(
        program, stdout=slave, stderr=slave, env={**plain, "TERM": "xterm", **environment}
    ) as running:
        os.close(slave)
        text = b""
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            text += piece
        running.wait()
    os.close(master)
    return text.decode()


def test_verdicts_have_colours_on_a_terminal_alone(xedge: Command, bundles: Path) -> None:
    command = ("run", bundles / "tflite_int8", "--runs", 5, "--no-accuracy")
    assert "\033[31mINVALID\033[0m" in on_a_terminal(*command)
    quiet = on_a_terminal(*command, NO_COLOR="1")
    assert "INVALID" in quiet
    assert "\033[3" not in quiet
    assert "\033" not in xedge(*command).stdout


def test_progress_is_overwritten_on_a_terminal_and_seldom_in_a_pipe(
    bundles: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\r\033[K" in on_a_terminal("run", bundles / "tflite_int8", "--runs", 5, "--no-accuracy")
    now = [0.0]
    monkeypatch.setattr("xedge.cli.console.time.monotonic", lambda: now[0])
    console, silent = Console(None, quiet=False), Console(None, quiet=True)
    for second in range(100):
        now[0] = float(second)
        console.progress(f"calibrate {second}/100 photos")
        silent.progress("never")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"calibrate {second}/100 photos" for second in (21, 42, 63, 84)]


@pytest.mark.slow
def test_quiet_prints_the_result_alone(xedge: Command, tmp_path: Path) -> None:
    command = ("convert", "--target", "tflite", "--output", tmp_path / "made")
    assert "read  " in xedge(*command).stdout
    quiet = xedge(*command, "--quiet")
    assert "read  " not in quiet.stdout
    assert "Next:" in quiet.stdout
    assert quiet.stderr == ""


def test_verbose_says_where_an_error_came_from(xedge: Command, tmp_path: Path) -> None:
    short = xedge("run", tmp_path / "nothing")
    long = xedge("run", tmp_path / "nothing", "--verbose")
    assert short.returncode == long.returncode == 3
    assert len(short.stderr.splitlines()) == 1
    assert "Traceback" in long.stderr
    assert long.stderr.splitlines()[-1] == short.stderr.splitlines()[-1]
    before = xedge("--verbose", "run", tmp_path / "nothing")
    assert (before.returncode, before.stderr) == (long.returncode, long.stderr)
    assert xedge("--verbose", "help", "run").stdout == xedge("run", "--help").stdout != ""


def test_a_fault_of_its_own_is_one_line_and_can_be_reported(
    xedge: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("xedge.cli.cost.cost", lambda *_, **__: 1 // 0)
    assert main(["cost"]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "ZeroDivisionError" in said
    assert "xedge doctor --report" in said
    done = xedge("doctor", "--report")
    assert "### Versions" in done.stdout
    assert "xedge cost" in done.stdout
    assert "ZeroDivisionError" in done.stdout
    assert str(Path.home()) not in done.stdout


def test_what_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [
        name for name in sys.modules if name.startswith(("xedge.reporting", "xedge.api.report", "xedge.cli.report"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    path = fabricated.written(tmp_path / "run.json", fabricated.run())
    assert main(["report", str(path)]) == 6
    assert "matplotlib is needed and not installed: pip install 'xedge[host]'" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_completion_is_written_for_a_shell(xedge: Command, shell: str) -> None:
    done = xedge("completion", shell)
    assert done.returncode == 0, done.stderr
    for word in ("convert", "benchmark", "precision"):
        assert word in done.stdout


def test_bash_completes_commands_options_and_choices(xedge: Command, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    script = tmp_path / "xedge.bash"
    script.write_text(xedge("completion", "bash").stdout)

    def completed(*words: str) -> list[str]:
        (function,) = re.findall(r"^complete .*-F (\w+) xedge$", script.read_text(), re.MULTILINE)
        line = " ".join(f'"{word}"' for word in words)
        commands = f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; {function}; "
        commands += 'echo "${COMPREPLY[@]}"'
        return subprocess.run([bash, "-c", commands], capture_output=True, text=True, check=True).stdout.split()

    assert completed("xedge", "con") == ["convert"]
    assert "--precision" in completed("xedge", "convert", "--prec")
    assert set(completed("xedge", "convert", "--io", "")) >= {"float32", "int8", "uint8"}
    assert set(completed("xedge", "convert", "--preprocess", "")) >= {"tf", "torch", "caffe"}
    assert set(completed("xedge", "convert", "--target", "")) >= {"tflite", "onnx", "openvino", "all"}
    assert set(completed("xedge", "convert", "--precision", "")) == {*PRECISIONS, *BY_NAME_ONLY, "all"}
    assert set(completed("xedge", "run", "--runtime", "")) >= {"litert", "onnxruntime"}
    assert set(completed("xedge", "run", "--provider", "")) >= {"cpu", "cuda", "npu"}


def test_the_docs_lines_make_a_fresh_account_complete(xedge: Command, tmp_path: Path) -> None:
    """The lines for bash and fish in docs/start.md, run in an empty home; fish answers what it would complete."""
    block = (DOCS / "start.md").read_text().partition("    # bash\n")[2].partition("\n\n    #")
    (tmp_path / "home").mkdir()
    environment = {
        "HOME": str(tmp_path / "home"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TERM": "dumb",
    }
    subprocess.run(["bash", "-ec", textwrap.dedent(block[0])], env=environment, check=True)
    asked = 'COMP_WORDS=(xedge run --provider n); COMP_CWORD=3; _shtab_xedge; echo "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", f". ~/.bashrc; {asked}"], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["npu"]
    if shutil.which("fish") is None:
        return
    lines = (DOCS / "start.md").read_text().partition("    # fish\n")[2].partition("\n\n")[0]
    subprocess.run(["bash", "-ec", textwrap.dedent(lines)], env=environment, check=True)
    command = ["fish", "-c", "complete -C 'xedge run --provider n'"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["npu"]


@pytest.mark.parametrize(
    ("words", "beginning"),
    [
        ((), "usage: xedge [-h]"),
        (("help",), "usage: xedge [-h]"),
        (("help", "run"), "usage: xedge run [-h]"),
        (("-V",), "xedge 0."),
        (("version",), "xedge 0."),
    ],
)
def test_help_and_version_are_printed_however_they_are_asked_for(words: tuple[str, ...], beginning: str) -> None:
    done = run_xedge(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(beginning)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("verion",), "unknown command 'verion'; there are convert,"),
        (("verfy",), "did you mean verify?"),
        (("verify", "--min-agrement", "3", "b"), "unknown option --min-agrement (did you mean --min-agreement?); see "),
        (("run", "b", "--threads", "x"), "--threads: 'x' is not a positive whole number; see xedge run --help"),
        (("convert", "--target", "tflte"), "--target: unknown target 'tflte'; did you mean tflite?"),
        (("cost", "a", "b"), "too many arguments: b; see xedge cost --help"),
    ],
)
def test_an_error_names_the_option_and_the_commands_own_help(words: tuple[str, ...], error: str, here: Command) -> None:
    done = here(*words)
    assert done.returncode == 2
    assert error in done.stderr
    assert words[0] not in ("verion",) or "did you mean" not in done.stderr


def test_json_is_json_whatever_else_is_said(xedge: Command, bundles: Path, few_photos: Path, tmp_path: Path) -> None:
    photo = next((bundles / "tflite_int8" / "golden").glob("*.png"))
    commands: list[tuple[object, ...]] = [
        ("convert", "--target", "tflite", "--output", tmp_path / "made", "--data", few_photos),
        ("predict", bundles / "tflite_int8", photo),
        ("cost",),
        ("doctor",),
        ("info", bundles / "tflite_int8"),
    ]
    for command in commands:
        done = xedge(*command, "--json")
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)


def test_a_reader_that_leaves_is_no_error(bundles: Path) -> None:
    """It has left before anything is written."""
    reader, writer = os.pipe()
    os.close(reader)
    command: list[str | Path] = [sys.executable, "-m", "xedge", "info", bundles / "tflite_int8"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert b"xedge: error" not in done.stderr
    assert b"Traceback" not in done.stderr
    assert done.returncode == -signal.SIGPIPE


def test_a_connection_that_is_lost_while_sending_is_told() -> None:
    """In the process of a command, which once let the system end it there."""
    code = """
from xedge.cli.main import main
from xedge.errors import ResourceError
from xedge.errors import ConnectionLostError
from xedge.remote.answers import Done
from xedge.remote.ssh import Ssh

def feed(pipe):
    while True:
        pipe.write(bytes(1 << 16))

main(["info", "nowhere"])
try:
    Ssh(destination="pi", program=("sh", "-c", "exit 255")).ask(Done, {"do": "receive", "files": {}}, feed)
except ConnectionLostError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (
        0,
        "pi: ssh ended with 255 and said nothing; try ssh pi python3 --version\n",
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_output_that_cannot_be_written_is_told(bundles: Path, unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "xedge", "info", bundles / "tflite_int8"],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == ResourceError.exit_code
    told = done.stderr.splitlines()[-1]
    assert told.startswith("xedge: error: ")
    assert "No space left on device" in told
    assert "Traceback" not in done.stderr
