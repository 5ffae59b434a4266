"""What a team's CI runs: the action's steps, the job for GitLab, the plugin of pytest, the hook before a commit."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from junitparser import JUnitXml

from tests.conftest import FURTHER, Command

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


def replaced(text: str, inputs: dict[str, str]) -> str:
    """Replace expressions as GitHub does before a shell sees them."""
    return re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda found: inputs[found.group(1)], text)


def run_action(folder: Path, step_id: str, **given: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run a step of the action in a shell as GitHub calls it, and return what it wrote for GitHub too."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    inputs = {name: one.get("default", "") for name, one in action["inputs"].items()} | given
    (step,) = (one for one in action["runs"]["steps"] if one.get("id", one.get("name")) == step_id)
    script = folder / "step.sh"
    script.write_text(replaced(step["run"], inputs))
    files = {name: folder / name.lower() for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}
    for file in files.values():
        file.write_text("before\n")
    environment = {
        **{name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"},
        **{name: replaced(value, inputs) for name, value in step.get("env", {}).items()},
        **{name: str(file) for name, file in files.items()},
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done, {name: file.read_text() for name, file in files.items()}


def written(folder: Path, budget: str) -> None:
    text = f'targets = ["tflite"]\nprecisions = ["fp32"]\n[budget]\n{budget}\n'
    (folder / "budgets of ours.toml").write_text(text)


@pytest.mark.parametrize(
    ("budget", "code", "verdict"),
    [
        pytest.param("max_size_mb = 7", 0, "met", marks=FURTHER),
        ("max_size_mb = 1", 8, "not met"),
        pytest.param("min_agreement_percent = 99.5", 9, "undecided", marks=FURTHER),
    ],
)
def test_the_action_checks_and_tells_github(tmp_path: Path, budget: str, code: int, verdict: str) -> None:
    written(tmp_path, budget)
    given = {"file": "budgets of ours.toml", "output": "what came out", "arguments": "--quiet --json=c.json"}
    done, files = run_action(tmp_path, "check", **given)
    assert done.returncode == code, done.stdout + done.stderr
    out = tmp_path / "what came out"
    assert files["GITHUB_OUTPUT"] == f"before\nverdict={verdict}\n"
    assert files["GITHUB_STEP_SUMMARY"] == "before\n" + (out / "summary.md").read_text()
    kept = {"check.json", "junit.xml", "summary.md", "badge.svg", "report.html", "tflite_fp32"}
    assert {path.name for path in out.iterdir()} == kept
    assert json.loads((tmp_path / "c.json").read_text())["verdict"] == verdict


def test_the_action_fails_where_there_are_no_results_and_shows_none_of_before(tmp_path: Path) -> None:
    (tmp_path / "xedge-check").mkdir()
    (tmp_path / "xedge-check" / "summary.md").write_text("of another run\n")
    done, files = run_action(tmp_path, "check")
    assert done.returncode == 3
    assert "there is no such file" in done.stderr
    assert files["GITHUB_OUTPUT"] == "before\n"
    assert "exit code 3" in files["GITHUB_STEP_SUMMARY"]
    assert "of another run" not in files["GITHUB_STEP_SUMMARY"]


def test_the_action_installs_what_its_input_names(tmp_path: Path) -> None:
    (tmp_path / "pip-arguments").touch()
    done, _ = run_action(tmp_path, "Install xedge", package="no such package; touch gone")
    assert done.returncode != 0  # one argument, which is no package
    assert not (tmp_path / "gone").exists()
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    assert all("shell" in step for step in action["runs"]["steps"] if "run" in step)
    assert "inputs." not in "".join(step.get("run", "") for step in action["runs"]["steps"])


def test_the_job_for_gitlab_is_what_the_command_takes(tmp_path: Path) -> None:
    (block,) = re.findall(r"## GitLab CI\n\n```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
    job = yaml.safe_load(block)["bundles"]
    written(tmp_path, "max_size_mb = 1")
    (tmp_path / "budgets of ours.toml").rename(tmp_path / "xedge.toml")
    (line,) = (one for one in job["script"] if one.startswith("xedge "))
    command = [str(BIN / "xedge"), *shlex.split(line)[1:], "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 8, done.stderr
    assert JUnitXml.fromfile(str(tmp_path / job["artifacts"]["reports"]["junit"])).failures == 1
    assert (tmp_path / job["artifacts"]["paths"][0]).is_dir()


TEAMS_TESTS = """
from pathlib import Path

BUNDLES = Path({bundles!r})
FLOAT = BUNDLES / "tflite_fp32"


def test_kept(xedge_budget):
    found = xedge_budget(
        BUNDLES / "tflite_int8", reference=FLOAT, max_drop_points=5, min_agreement_percent=90, max_total_variation=0.1
    )
    assert found.closeness.photos == 372


def test_missed(xedge_budget):
    xedge_budget(BUNDLES / "tflite_int8", max_size_mb=0.5)


def test_undecided(xedge_budget):
    xedge_budget(FLOAT, reference=FLOAT, min_agreement_percent=99.5)


def test_impossible(xedge_budget):
    xedge_budget(FLOAT, reference=FLOAT, min_agreement_percent=100)


def test_nothing_demanded(xedge_budget):
    xedge_budget(FLOAT)


def test_without_its_reference(xedge_budget):
    xedge_budget(FLOAT, max_drop_points=1)
"""


def test_the_fixture_fails_what_is_not_shown_to_be_kept(pytester: pytest.Pytester, bundles: Path) -> None:
    pytester.makepyfile(TEAMS_TESTS.format(bundles=str(bundles)))
    done = pytester.runpytest_subprocess("-p", "no:xdist")
    done.assert_outcomes(passed=1, failed=5)
    done.stdout.fnmatch_lines(
        [
            "*tflite_int8 (tflite int8) is not shown to keep its budget",
            "*not met: size of the artifact *MB; the budget is at most 0.5 MB",
            "*undecided: agreement with float 100.00 [[]98.98, 100.00[]] %; the budget is at least 99.5 %*372 photos*",
            "*no number of photos can show it*",
            "*nothing is demanded*",
            "*max_drop_points compares with another bundle; give reference",
        ]
    )


def test_the_fixture_compares_with_a_release_in_turns(pytester: pytest.Pytester, bundles: Path) -> None:
    pytester.makepyfile(
        f"""
        import xedge

        def test_faster_than_the_release(xedge_budget):
            plan = xedge.Plan(rounds=3, runs=5, limit=50)
            same = {str(bundles / "tflite_fp32")!r}
            xedge_budget(same, baseline=same, plan=plan, max_latency_ratio=0.01)
        """
    )
    done = pytester.runpytest_subprocess("-p", "no:xdist")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*not met: time / baseline's time *; the budget is at most 0.01"])


def test_the_plugin_loads_nothing_for_those_who_do_not_use_it(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text(
        "import sys\n\n\ndef test_nothing():\n"
        "    assert 'xedge.testing.plugin' in sys.modules\n"
        "    heavy = {'numpy', 'PIL', 'tensorflow', 'keras', 'onnxruntime', 'xedge.api', 'xedge.checking'}\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:hypothesispytest", "test_nothing.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_judging_needs_none_of_the_packages_of_the_host() -> None:
    packages = ["tensorflow", "keras", "onnx", "jinja2", "h5py"]
    code = f"import sys, xedge.api.judge\nprint([name for name in {packages} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def run_hook(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the hook's entry as pre-commit does: in the root of the repository, without names of files."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["id"] == "xedge-bundles"
    assert hook["always_run"]
    assert not hook["pass_filenames"]
    program, *arguments = shlex.split(hook["entry"])
    return subprocess.run([str(BIN / program), *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_the_hook_finds_changed_bundles_and_leaves_others_alone(bundles: Path, tmp_path: Path) -> None:
    assert run_hook(tmp_path).returncode == 0
    for name in ("tflite_int8", "onnx_fp32"):
        shutil.copytree(bundles / name, tmp_path / "models" / name)
    shutil.make_archive(str(tmp_path / "zipped"), "zip", bundles, "tflite_fp32")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manifest.json").write_text('{"name": "an application for browsers"}')
    (tmp_path / "web" / "other.zip").write_bytes(b"no zip")
    done = run_hook(tmp_path)
    assert (done.returncode, done.stdout) == (0, "3 bundles: every file matches its sha256\n"), done.stderr

    labels = tmp_path / "models" / "tflite_int8" / "labels.txt"
    unchanged = labels.read_bytes()
    labels.write_bytes(unchanged.replace(b"\n", b"\r\n"))
    done = run_hook(tmp_path)
    assert done.returncode == 5
    assert "models/tflite_int8/labels.txt: does not match its sha256" in done.stdout
    assert "1 of 3 bundles are damaged" in done.stdout

    labels.write_bytes(unchanged)
    (tmp_path / "models" / "onnx_fp32" / "manifest.json").unlink()
    done = run_hook(tmp_path)
    assert done.returncode == 5
    assert "manifest.json is missing" in done.stdout

    archive = tmp_path / "zipped.zip"
    archive.write_bytes(archive.read_bytes()[:-5000])
    assert "2 of 3 bundles are damaged" in run_hook(tmp_path).stdout


def test_hashes_of_a_folder_without_bundles_are_refused_if_it_is_named(here: Command, tmp_path: Path) -> None:
    done = here("hashes", tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "there is no bundle here" in done.stderr
    assert here("hashes", tmp_path / "gone").returncode == 3
