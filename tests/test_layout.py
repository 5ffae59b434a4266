"""Tables and text on narrow and wide terminals: nothing is lost, no number is broken, and a pipe gets whole lines."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xedge.cli.layout import aligned, terminal_columns, wrapped

CELLS = st.text("ab7.%[", min_size=1, max_size=14)
TABLES = st.integers(2, 6).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=2, max_size=5)
)


@given(TABLES, st.integers(40, 200), st.booleans())
def test_no_cell_is_lost_or_broken_and_lines_keep_to_the_width(
    lines: list[list[str]], columns: int, header: bool
) -> None:
    text = aligned(lines, header=header, columns=columns)
    assert max(map(len, text)) <= columns
    words = {word for line in text for word in line.split()}
    assert {cell for line in lines for cell in line} <= words


@given(TABLES)
def test_without_a_terminal_a_row_is_a_line(lines: list[list[str]]) -> None:
    text = aligned(lines, header=True, columns=None)
    assert len(text) == len(lines) + 1
    assert [line.split() for line in (text[0], *text[2:])] == lines


def test_a_table_that_does_not_fit_is_told_in_parts_or_by_name_and_value() -> None:
    rows = [["run", "first figure", "second figure"], ["a", "1", "2"], ["b", "3", "4"]]
    assert aligned(rows, header=True, columns=22) == [
        *("run  first figure", "---  ------------", "a               1", "b               3", ""),
        *("run  second figure", "---  -------------", "a                2", "b                4"),
    ]
    assert aligned(rows[:2], header=True, columns=22) == ["run a", "  first figure   1", "  second figure  2"]


def test_lines_are_broken_between_words_and_never_within_a_figure() -> None:
    line = "bundle: agreement 99.59 % [97.7, 99.9], drop +0.00 points [-1.57, +1.57], McNemar p 1 on 241 photos"
    for columns in range(40, 110):
        lines = wrapped(line, columns).split("\n")
        assert max(map(len, lines)) <= columns
        assert " ".join(one.strip() for one in lines) == line
        for figure in ("99.59 %", "[97.7, 99.9]", "[-1.57, +1.57]", "241 photos"):
            assert any(figure in one for one in lines), (columns, lines)
    assert wrapped("labels   a, b, c, d, e, f, g, h, i, j, k, l, m, n", 40).split("\n")[1].startswith(" " * 9 + "k")
    assert wrapped(line, None) == line


def test_a_pipe_and_a_file_have_no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert terminal_columns(io.StringIO()) is None


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_command_keeps_to_the_terminal(columns: int, bundles: Path) -> None:
    """``info`` in a terminal of that width: it says at once that it loads, and no line is longer."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "xedge", "info", str(bundles / "tflite_int8")]
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen(command, stdout=follower, stderr=follower, env=environment) as process:
        os.close(follower)
        text = b""
        while data := _read(leader):
            text += data
        assert process.wait() == 0
    os.close(leader)
    assert text.startswith(b"loading what info needs")
    lines = re.sub(r"^.*\x1b\[K", "", text.decode().replace("\r\n", "\n")).split("\n")
    assert max(map(len, lines)) <= columns
    assert any(line.startswith("accuracy") for line in lines)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # The other end is closed.
        return b""
