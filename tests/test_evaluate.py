"""Evaluations on many photos: the same to the last bit on any number of workers, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Command, Once
from tests.test_photo_forms import sharded
from xedge.bundle.reading import open_bundle
from xedge.errors import MissingRuntimeError
from xedge.evaluating.versions import check_answers
from xedge.metrics import accuracy, agreement, drop, drop_of_answers, holm, paired_interval, photos_to_prove
from xedge.models.compact import embedded

PHOTOS = embedded.ROOT / "test"


def evaluation(bundles: Path, output: Path, *more: object) -> tuple[object, ...]:
    """Return the command that evaluates two bundles on the embedded model's test photos."""
    two = (bundles / "tflite_int8", bundles / "tflite_fp32")
    return ("evaluate", *two, "--data", PHOTOS, "--output", output, "--json", output / "report.json", *more)


def document(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "report.json").read_text())
    return found


@pytest.fixture(scope="module")
def serial(once: Once, xedge: Command, bundles: Path) -> Path:
    """The results of one worker on all photos."""

    def make(folder: Path) -> None:
        done = xedge(*evaluation(bundles, folder, "--workers", 1))
        assert done.returncode == 0, done.stderr

    return once("evaluated", make)


def test_figures_are_those_of_a_loop_over_the_photos(serial: Path, bundles: Path) -> None:
    """Computed here once more, with all probabilities in memory as ``run`` has them."""
    from xedge.measuring.run import bundle_truth
    from xedge.measuring.starting import RunOptions
    from xedge.runtimes.classifier import open_bundle_classifier

    photos = embedded.test_photos()
    rows = {}
    for name in ("tflite_int8", "tflite_fp32"):
        bundle = open_bundle(bundles / name)
        classifier, _ = open_bundle_classifier(bundle, RunOptions(threads=1).settings(bundle))
        rows[name] = np.stack([classifier.classify(bundle.manifest.preprocessing.pixels(one)) for one in photos.files])
    truth = bundle_truth(bundle, photos)
    int8, fp32 = document(serial)["bundles"]
    assert document(serial)["photos_sha256"] == photos.digest()
    assert document(serial)["reference"] == "tflite_fp32"
    for told, name in ((int8, "tflite_int8"), (fp32, "tflite_fp32")):
        found = accuracy(rows[name], truth)
        assert (told["accuracy"]["top1"], told["accuracy"]["top5"]) == (found.top1, found.top5)
        assert told["answers"]["first"] == rows[name].argmax(1).tolist()
    same = agreement(rows["tflite_int8"], rows["tflite_fp32"])
    lost = drop(rows["tflite_int8"], rows["tflite_fp32"], truth)
    assert int8["against"]["agreement"]["total_variation"] == same.total_variation
    assert int8["against"]["agreement"]["agreement"] == same.agreement
    assert int8["against"]["drop"]["mcnemar_p"] == lost.mcnemar_p
    assert int8["against"]["drop"]["points"] == lost.points


def test_two_workers_give_the_same_document(serial: Path, xedge: Command, bundles: Path, tmp_path: Path) -> None:
    done = xedge(*evaluation(bundles, tmp_path, "--workers", 2))
    assert done.returncode == 0, done.stderr
    assert document(tmp_path)["bundles"] == document(serial)["bundles"]
    for part in sorted(serial.rglob("*.parquet")):
        assert (tmp_path / part.relative_to(serial)).read_bytes() == part.read_bytes()


def test_a_second_call_computes_what_is_missing_or_damaged(
    serial: Path, xedge: Command, bundles: Path, tmp_path: Path
) -> None:
    output = tmp_path / "results"
    shutil.copytree(serial, output)
    (output / "report.json").unlink()
    parts = sorted(output.rglob("*.parquet"))
    parts[0].unlink()
    halved = parts[-1].read_bytes()
    parts[-1].write_bytes(halved[: len(halved) // 2])
    kept = {part: part.stat().st_mtime_ns for part in parts[1:-1]}
    done = xedge(*evaluation(bundles, output, "--workers", 1))
    assert done.returncode == 0, done.stderr
    assert document(output) == document(serial)
    assert {part: part.stat().st_mtime_ns for part in parts[1:-1]} == kept
    chunks = len(parts) // 2
    redone = {part.name for part in (parts[0], parts[-1])}
    assert f"{372 - sum(64 if int(n[:6]) < chunks - 1 else 372 % 64 for n in redone)} were done before" in done.stdout


class Running:
    """A command in a process group of its own, as a shell starts it."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "xedge", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - as a terminal starts it
        )

    def workers(self) -> list[int]:
        """Return the processes that evaluate, which are the children of Dask's nannies and have opened a runtime."""
        return [pid for pid in descendants(self.process.pid) if "litert" in maps(pid)]

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=240)
        return self.process.returncode, out, err


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        if parent == pid:
            found += [int(folder.name), *descendants(int(folder.name))]
    return found


def maps(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return ""


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


def parts(output: Path) -> int:
    return len(list(output.rglob("*.parquet")))


@pytest.mark.slow
def test_killed_workers_change_nothing(serial: Path, bundles: Path, tmp_path: Path) -> None:
    running = Running(*evaluation(bundles, tmp_path, "--workers", 2))
    killed: set[int] = set()
    for least in (0, 4):
        until(lambda least=least: parts(tmp_path) >= least and set(running.workers()) - killed)  # type: ignore[misc]
        victim = (set(running.workers()) - killed).pop()
        os.kill(victim, signal.SIGKILL)
        killed.add(victim)
    code, _, err = running.end()
    assert code == 0, err
    assert len(killed) == 2
    assert document(tmp_path) == document(serial)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_a_client_that_ends_leaves_what_is_done(
    serial: Path, xedge: Command, bundles: Path, tmp_path: Path, number: signal.Signals
) -> None:
    running = Running(*evaluation(bundles, tmp_path, "--workers", 2))
    until(lambda: parts(tmp_path) >= 2)
    others = descendants(running.process.pid)
    if number == signal.SIGINT:
        os.killpg(running.process.pid, number)
    else:
        running.process.kill()
    code, _, err = running.end()
    assert code == (130 if number == signal.SIGINT else -9)
    if number == signal.SIGINT:
        assert err.splitlines()[-1].startswith("xedge: error: interrupted")
        assert "Traceback" not in err
    until(lambda: not any(Path(f"/proc/{pid}").exists() and "litert" in maps(pid) for pid in others))
    kept = {part: part.stat().st_mtime_ns for part in tmp_path.rglob("*.parquet")}
    assert 2 <= len(kept) < parts(serial)
    done = xedge(*evaluation(bundles, tmp_path, "--workers", 2))
    assert done.returncode == 0, done.stderr
    assert document(tmp_path) == document(serial)
    assert {part: part.stat().st_mtime_ns for part in kept} == kept


class Cluster:
    """A scheduler and workers in processes of their own, as somebody else starts them."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder = folder
        self.file = folder / "scheduler.json"
        self.scheduler = self._start("dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", self.file)
        until(lambda: self.file.exists() and self.file.read_text().endswith("}"))  # it is not written in one step
        self.address = json.loads(self.file.read_text())["address"]
        self.workers = [self.worker() for _ in range(workers)]

    def worker(self) -> subprocess.Popen[bytes]:
        return self._start("dask_worker", self.address, "--nthreads", "1", "--no-dashboard", "--no-nanny")

    def _start(self, module: str, *arguments: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{module}", *map(str, arguments)]
        return subprocess.Popen(command, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    running = Cluster(folder, 2)
    yield running
    running.end()


@pytest.mark.slow
def test_a_cluster_that_loses_workers_and_its_scheduler(
    serial: Path, xedge: Command, bundles: Path, tmp_path: Path, cluster: Cluster
) -> None:
    """A worker that joins later gets the bundles too; without a scheduler the client ends, and another one goes on."""
    output = tmp_path / "results"
    running = Running(*evaluation(bundles, output, "--scheduler", cluster.address))
    until(lambda: parts(output) >= 1)
    cluster.workers[0].kill()
    cluster.workers.append(cluster.worker())
    until(lambda: parts(output) >= 4)
    cluster.scheduler.kill()
    code, out, err = running.end()
    assert code == 10, err
    assert len(err.splitlines()) == 1
    assert "the connection to the scheduler was lost" in err
    assert "are missing, and the same command goes on" in out
    assert 4 <= parts(output) < parts(serial)
    other = Cluster(tmp_path, 1)
    try:
        done = xedge(*evaluation(bundles, output, "--scheduler", other.address))
    finally:
        other.end()
    assert done.returncode == 0, done.stderr
    assert document(output) == document(serial)


@pytest.mark.slow
def test_damaged_photos_are_named_or_counted(xedge: Command, bundles: Path, few_photos: Path, tmp_path: Path) -> None:
    """Each photo that cannot be read is left out for every bundle; what could be read is scored as without it."""
    photos, whole = tmp_path / "photos", tmp_path / "whole"
    shutil.copytree(few_photos, photos)
    for label in ("hat", "shirt"):
        damaged = sorted((photos / label).iterdir())[0]
        damaged.write_bytes(damaged.read_bytes()[:100])
    shutil.copytree(
        photos, whole, ignore=lambda folder, names: [min(names)] if folder.endswith(("/hat", "/shirt")) else []
    )
    command = (
        "evaluate",
        bundles / "tflite_int8",
        "--output",
        tmp_path / "results",
        "--workers",
        1,
        "--json",
        "--data",
    )
    refused = xedge(*command, photos)
    assert refused.returncode == 3
    assert "hat/" in refused.stderr
    assert "leave out a number of such photos with --skip-damaged" in refused.stderr
    few = xedge(*command, photos, "--skip-damaged", 1)
    assert few.returncode == 3
    assert "more than 1 photos cannot be read, as --skip-damaged allows" in few.stderr
    done = xedge(*command, photos, "--skip-damaged", 2)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert len(report["damaged"]) == 2
    assert report["photos"] == 18
    told = xedge(*command, photos)
    assert told.returncode == 3, "the parts are kept, but not what they leave out"
    others = json.loads(xedge(*command, whole).stdout)
    assert report["bundles"] == others["bundles"]
    assert report["photos_sha256"] == others["photos_sha256"]


def test_no_scheduler_is_told(xedge: Command, bundles: Path, tmp_path: Path) -> None:
    done = xedge(*evaluation(bundles, tmp_path, "--scheduler", "nowhere", "--workers", 2))
    assert done.returncode == 2
    assert "give one of the two" in done.stderr


def test_the_worker_that_lacks_something_is_named() -> None:
    here = {"python": "3.11.7", "machine": "x86_64", "xedge": "1.0", "pillow": "11.0", "ai-edge-litert": "2.1"}
    good = {**here, "photos": "readable", "processor": "one"}
    check_answers({"tcp://a:1": good, "tcp://b:2": {**good, "processor": "another"}}, here)
    for change, words in (
        ({"pillow": "10.0"}, "worker tcp://b:2: has pillow 10.0 instead of 11.0; pip install 'pillow==11.0'"),
        ({"ai-edge-litert": "not installed"}, "worker tcp://b:2: lacks ai-edge-litert; install it there: pip install"),
        ({"python": "3.10.1"}, "worker tcp://b:2: has python 3.10.1 instead of 3.11.7; take workers with python"),
        ({"photos": "not readable"}, "worker tcp://b:2: cannot read the photos; put them where every worker sees"),
    ):
        with pytest.raises(MissingRuntimeError) as raised:
            check_answers({"tcp://a:1": good, "tcp://b:2": {**good, **change}}, here)
        assert words in str(raised.value)


def test_workers_agree_where_the_client_has_nothing() -> None:
    """A laptop without a runtime may evaluate on a cluster, whose workers must have one version of it."""
    client = {"python": "3.11.7", "machine": "x86_64", "ai-edge-litert": "not installed"}
    workers = {f"tcp://{name}:1": {**client, "ai-edge-litert": "2.1"} for name in "abc"}
    check_answers(workers, client)
    workers["tcp://c:1"]["ai-edge-litert"] = "2.0"
    with pytest.raises(MissingRuntimeError, match=r"worker tcp://c:1: has ai-edge-litert 2\.0 instead of 2\.1"):
        check_answers(workers, client)
    nobody = dict.fromkeys(workers, client)
    with pytest.raises(MissingRuntimeError, match="worker tcp://a:1: lacks ai-edge-litert"):
        check_answers(nobody, client)


def test_as_many_photos_as_planned_prove_the_drop_as_often_as_told() -> None:
    """Drawn many times from a population like the one that was seen, four in five evaluations prove it."""
    lost, won, seen, points = 40, 30, 2000, 1.5
    needed = photos_to_prove(lost, won, seen, points)
    assert needed is not None
    rng = np.random.default_rng(1)
    shares = [(lost + 0.5) / (seen + 2), (won + 0.5) / (seen + 2)]
    proved = 0
    for worse, better in rng.multinomial(needed, [*shares, 1 - sum(shares)], 300)[:, :2]:
        reference, own = np.zeros(needed, np.int64), np.zeros(needed, np.int64)
        own[:worse] = 1
        reference[worse : worse + better] = 1
        proved += drop_of_answers(own, reference, np.zeros(needed, np.int64)).interval95[1] <= points
    assert 0.72 < proved / 300 < 0.88
    assert photos_to_prove(40, 10, 2000, 1.4) is None
    assert (photos_to_prove(0, 0, 1000, 0.1) or 0) > 1000, "no changed photo among a few is no proof"


def test_no_lost_photo_proves_no_drop_of_zero() -> None:
    """Where nothing changed, the score statistic is the square root of N d / (1 - d)."""
    for photos in (10, 372, 50_000):
        low, high = paired_interval(0, 0, photos)
        assert high == pytest.approx(1.959964**2 / (photos + 1.959964**2), rel=1e-6)
        assert low == pytest.approx(-high)
    low, high = paired_interval(3, 17, 200)
    assert (low, high) == pytest.approx([-bound for bound in reversed(paired_interval(17, 3, 200))])
    assert low < (3 - 17) / 200 < high
    assert paired_interval(5, 0, 5)[0] > 0 > paired_interval(0, 5, 5)[1]


@pytest.mark.parametrize(("lost", "won", "photos"), [(0.003, 0.001, 372), (0.05, 0.05, 100), (0.2, 0.02, 60)])
def test_the_interval_of_a_drop_holds_it_as_often_as_told(lost: float, won: float, photos: int) -> None:
    drawn = np.random.default_rng(0).multinomial(photos, [lost, won, 1 - lost - won], 2000)
    intervals = [paired_interval(int(b), int(c), photos) for b, c, _ in drawn]
    held = np.mean([low <= lost - won <= high for low, high in intervals])
    assert 0.935 < held <= 1


def test_holms_adjustment_is_that_of_the_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


def test_the_plan_is_made_of_what_was_seen(serial: Path, here: Command, bundles: Path, tmp_path: Path) -> None:
    done = here("evaluate", "--plan", "--max-drop", 2, "--output", serial, "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)["bundles"][0]
    lost = document(serial)["bundles"][0]["against"]["drop"]
    assert (plan["photos"], plan["lost"], plan["won"]) == (372, lost["lost"], lost["won"])
    assert plan["photos_to_prove"] == photos_to_prove(lost["lost"], lost["won"], 372, 2)
    half = tmp_path / "half"
    shutil.copytree(serial, half)
    for part in sorted(half.rglob("*.parquet"))[:2]:
        part.unlink()
    found = json.loads(here("evaluate", "--plan", "--max-drop", 2, "--output", half, "--json").stdout)
    assert found["bundles"][0]["photos"] == 372 - 2 * 64
    for arguments, code, words in (
        (("--plan", "--output", serial), 2, "--plan needs --max-drop"),
        (("--plan", "--max-drop", 2, "--output", tmp_path / "nothing"), 3, "has no results of an evaluation"),
        ((bundles / "tflite_int8", "--output", tmp_path), 2, "--data is missing"),
        (("--data", PHOTOS, "--output", tmp_path), 2, "no bundle is given"),
        ((bundles / "tflite_int8", bundles / "tflite_int8", "--data", PHOTOS, "--output", tmp_path), 2, "given twice"),
    ):
        refused = here("evaluate", *arguments)
        assert refused.returncode == code
        assert words in refused.stderr


@pytest.mark.slow
def test_verdicts_have_their_exit_codes(serial: Path, xedge: Command, bundles: Path, tmp_path: Path) -> None:
    """The same parts judged by three budgets, without computing anything again."""
    output = tmp_path / "results"
    shutil.copytree(serial, output)
    for budget, code, verdict in (
        (("--max-drop", 20), 0, "met"),
        (("--min-agreement", 100), 8, "not met"),
        (("--min-agreement", 99), 9, "too few photos to decide"),
    ):
        done = xedge(*evaluation(bundles, output, "--workers", 1, *budget))
        assert done.returncode == code, done.stderr
        assert document(output)["bundles"][0]["against"]["verdict"] == verdict
        assert f"{verdict}\n" in done.stdout
        assert "evaluate   0 photos, 372 were done before" in done.stdout


@pytest.mark.slow
def test_workers_read_shards_from_s3(serial: Path, xedge: Command, bundles: Path, tmp_path: Path, bucket: Any) -> None:
    """Photos in shards in a bucket give what the same photos give in class folders."""
    photos = embedded.test_photos()
    sharded(photos, tmp_path, ".json")
    for file in tmp_path.glob("*.tar"):
        bucket.upload_file(str(file), "photos", f"evaluated/{file.name}")
    data = "s3://photos/evaluated/val-*.tar"
    bundle = bundles / "tflite_int8"
    output = tmp_path / "results"
    done = xedge("evaluate", bundle, "--data", data, "--output", output, "--workers", 2, "--json")
    assert done.returncode == 0, done.stderr
    found, (expected, _) = json.loads(done.stdout), document(serial)["bundles"]
    assert found["photos_sha256"] == document(serial)["photos_sha256"]
    assert found["bundles"][0]["accuracy"] == expected["accuracy"]
    assert found["bundles"][0]["confusion"] == expected["confusion"]


def test_evaluations_are_compared_with_runs_on_the_same_photos(
    serial: Path, here: Command, bundles: Path, tmp_path: Path
) -> None:
    """The pairing goes by the photos, so that a run of one thread has the same answers as an evaluation."""
    run = tmp_path / "run.json"
    assert here("run", bundles / "tflite_fp32", "--runs", 2, "--threads", 1, "--json", run).returncode == 0
    done = here("compare", serial / "report.json", run, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [side["valid"] for side in found["sides"]] == [None, None, False]
    evaluated, ran = found["versus"]
    assert evaluated["accuracy"]["agreement"] == ran["accuracy"]["agreement"]
    assert evaluated["accuracy"]["mcnemar_p"] == ran["accuracy"]["mcnemar_p"] is not None
    assert ran["latency"] is None
    assert any(note.startswith("not timed: ") for note in found["notes"])
    shown = here("compare", serial / "report.json", run)
    assert "not timed" in shown.stdout


def test_what_is_not_installed_is_named(
    here: Command, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("xedge.evaluating", "distributed"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = here("evaluate", bundles / "tflite_int8", "--data", PHOTOS, "--output", tmp_path)
    assert done.returncode == 6
    assert "distributed is needed and not installed: pip install 'xedge[cluster]'" in done.stderr
