"""The notebook runs from its first cell to its last, in a kernel, and is kept without outputs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOK = Path(__file__).parent.parent / "examples" / "five_minutes.ipynb"


def opened() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def test_it_is_kept_without_outputs() -> None:
    code = [cell for cell in opened().cells if cell.cell_type == "code"]
    assert len(code) >= 5
    assert [cell for cell in code if cell.outputs or cell.execution_count is not None] == []


def test_its_links_hold() -> None:
    text = "\n".join(cell.source for cell in opened().cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert len(links) >= 5
    assert [link for link in links if not (NOTEBOOK.parent / link).is_file()] == []


@pytest.mark.slow
def test_every_cell_runs(tmp_path: Path) -> None:
    from nbclient import NotebookClient

    done: Any = NotebookClient(opened(), timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = {
        cell.id: "".join(one.get("text", "") for one in cell.outputs) for cell in done.cells if cell.cell_type == "code"
    }
    assert all(cell.outputs for cell in done.cells if cell.cell_type == "code")
    text = "\n".join(printed.values())
    assert re.search(r"tflite_int8: \d\.\d\d MB, top-1 8\d\.\d\d%\n  agreement 9\d\.\d\d%", text)
    assert re.search(r"int8 takes \d\.\d\d of fp32's time", text)
    assert (tmp_path / "report.html").stat().st_size > 10_000
