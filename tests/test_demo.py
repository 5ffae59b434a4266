"""The page of a demo: a real server, a real browser, and the answers of ``xedge predict``."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

import xedge
from tests.conftest import Command, Once
from tests.machine import until
from xedge.bundle.reading import open_bundle
from xedge.demo.frames import CameraFrames, PhotoFrames
from xedge.demo.loaded import LoadedBundle
from xedge.demo.server import Server, serving
from xedge.demo.show import Show
from xedge.demo.state import Tally
from xedge.errors import InputError
from xedge.measuring.starting import RunOptions
from xedge.models.compact import embedded
from xedge.photos.camera import open_camera
from xedge.photos.sets import read_folder

BROKEN = "broken.jpg"


def disputed(first: xedge.Model, second: xedge.Model) -> Image.Image:
    """Return a photo between those of two classes to which two bundles give different first classes."""
    of_class = {file.parent.name: file for file in embedded.test_photos().files}
    photos = [Image.open(of_class[name]).convert("RGB").resize((128, 128)) for name in ("dress", "pants", "shoes")]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        for share in np.linspace(0.2, 0.8, 400):
            blend = Image.blend(photos[one], photos[other], float(share))
            if first.classify(blend)[0].index != second.classify(blend)[0].index:
                return blend
    raise AssertionError("two precisions that answer everything alike")


@pytest.fixture(scope="module")
def photos(bundles: Path, once: Once) -> Path:
    """A flat folder: a photo to which int8 answers otherwise than fp32, two others, and one that is broken."""

    def make(folder: Path) -> None:
        with xedge.load(bundles / "tflite_fp32") as first, xedge.load(bundles / "tflite_int8") as second:
            disputed(first, second).save(folder / "disputed.png")
        for label in ("hat", "skirt"):
            shutil.copy(next((embedded.ROOT / "test" / label).glob("*.jpg")), folder / f"{label}.jpg")
        (folder / BROKEN).write_bytes(b"\xff\xd8\xff no photo")

    return once("demo_photos", make)


@contextmanager
def demo(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Start the command as a user does; yield the process and its lines up to the address of the page."""
    command = [sys.executable, "-m", "xedge", "demo", *map(str, arguments), "--port", "0"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in a shell's background, interrupts are ignored, which would be inherited.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        try:
            assert process.stdout is not None
            said: list[str] = []
            while not said or not said[-1].startswith("http://"):
                said.append(process.stdout.readline().strip())
                assert said[-1], process.communicate()
            yield process, said
        finally:
            process.kill()


def ended(process: subprocess.Popen[str], number: int = signal.SIGINT) -> str:
    """Ask the program to end; return what it printed until then."""
    process.send_signal(number)
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = process.stdout.read(), process.stderr.read()
    assert (process.wait(timeout=60), err) == (0, "")
    return out


def test_the_page_shows_what_predict_answers_and_counts_what_changed(
    browser: Any, here: Command, bundles: Path, photos: Path
) -> None:
    pair = [bundles / "tflite_fp32", bundles / "tflite_int8"]
    names = ("disputed.png", "hat.jpg", "skirt.jpg")
    predicted = [
        {
            Path(one["photo"]).name: [f"{c['label']} {100 * c['probability']:.2f} %" for c in one["classes"]]
            for one in json.loads(here("predict", bundle, *(photos / name for name in names), "--json").stdout)
        }
        for bundle in pair
    ]
    changed = {name for name in names if predicted[0][name][0].split()[0] != predicted[1][name][0].split()[0]}
    assert "disputed.png" in changed
    with demo(*pair, "--data", photos, "--rate", 0.01) as (process, said):
        tab, complaints = looking(browser, said[-1])
        shown: list[str] = []
        for _ in names:
            until(
                lambda: tab.evaluate("before => !before.includes(document.getElementById('photo').textContent)", shown)
            )
            name = tab.locator("#photo").inner_text()
            shown.append(name)
            assert [answers(tab, bundle) for bundle in (0, 1)] == [one[name] for one in predicted]
            assert tab.locator("#picture").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
            counted = len(changed & set(shown))
            assert tab.locator("#changed").inner_text() == f"{counted} of {len(shown)}"
            assert ("differs" in tab.locator("#differs").inner_text()) == (name in changed)
            tab.keyboard.press("ArrowRight")
        # The fourth photo is broken, so that the first one comes again, which is not counted again.
        until(lambda: tab.locator("#photo").inner_text() == shown[0])
        assert tab.locator("#changed").inner_text() == f"{len(changed)} of 3"
        notice = tab.locator("#notice").inner_text()
        assert notice.startswith("1 photo skipped")
        assert BROKEN in notice
        tab.keyboard.press("ArrowLeft")
        until(lambda: tab.locator("#photo").inner_text() == shown[2])
        assert complaints == []
        out = ended(process)
    assert out.count("skipped: ") == 1
    assert BROKEN in out
    assert f"first class differs for {len(changed)} of 3; 1 skipped" in out


def looking(browser: Any, url: str, **context: Any) -> tuple[Any, list[str]]:
    """Open a page; return it, and everything that it complains of or asks others for."""
    found: list[str] = []
    own = urlsplit(url).netloc

    def requested(request: Any) -> None:
        if urlsplit(request.url).netloc not in (own, ""):
            found.append(request.url)

    tab = browser.new_context(**context).new_page()
    tab.on("console", lambda message: found.append(message.text))
    tab.on("pageerror", lambda error: found.append(str(error)))
    tab.on("request", requested)
    tab.goto(url)
    until(lambda: tab.evaluate("document.getElementById('picture').naturalWidth > 0"))
    return tab, found


def answers(tab: Any, bundle: int) -> list[str]:
    """Return the classes that the page shows for one of the bundles, each with its percentage."""
    rows = tab.locator("#answers section").nth(bundle).locator("li")
    return [" ".join(rows.nth(i).locator("span:not(.bar)").all_inner_texts()) for i in range(rows.count())]


def test_it_pauses_by_button_and_by_key_and_goes_on(browser: Any, bundles: Path) -> None:
    with demo(bundles / "tflite_int8", "--rate", 20) as (process, said):
        tab, complaints = looking(browser, said[-1])
        place, word = tab.locator("#place"), tab.locator("#pause-word")
        for key in ("Enter", "Space"):
            if key == "Enter":
                tab.locator("#pause").focus()
            else:
                tab.evaluate("document.activeElement.blur()")
            tab.keyboard.press(key)
            until(lambda: word.inner_text() == "Go on")
            time.sleep(0.4)  # the photo that is being answered may still come
            before = place.inner_text()
            time.sleep(0.4)
            assert place.inner_text() == before
            tab.keyboard.press(key)
            until(lambda: word.inner_text() == "Pause")
            until(lambda before=before: place.inner_text() != before)  # type: ignore[misc]
        assert tab.locator("#change").is_hidden()
        until(lambda: re.fullmatch(r"\d+\.\d", tab.locator("#rate").inner_text()) is not None)
        assert complaints == []
        assert "p50" in ended(process, signal.SIGTERM)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_and_fits_a_phone(browser: Any, bundles: Path, photos: Path, scheme: Any) -> None:
    from axe_playwright_python.sync_playwright import Axe

    pair = (bundles / "tflite_fp32", bundles / "tflite_int8")
    with serving_here(*pair, data=photos) as (show, server):
        phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
        tab, _ = looking(browser, server.urls[0], color_scheme=scheme, **phone)
        show.control("pause")
        until(lambda: BROKEN in tab.locator("#notice").inner_text())
        tab.locator("summary").click()
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        assert min(box["height"] for box in map(boxed, tab.locator("button").all())) >= 44
        first_screen = tab.locator("#answers .figure").all()
        assert len(first_screen) == 2
        assert all(boxed(one)["y"] + boxed(one)["height"] < boxed(tab.locator("nav"))["y"] for one in first_screen)
        results = Axe().run(tab)
        assert results.violations_count == 0, results.generate_report()


def boxed(element: Any) -> dict[str, float]:
    found: dict[str, float] = element.bounding_box()
    return found


@contextmanager
def serving_here(
    *paths: Path, data: Path, rate: float = 50.0, host: str = "127.0.0.1"
) -> Iterator[tuple[Show, Server]]:
    """Run a show of photos in this process; it ends with the process's threads."""
    bundles = [LoadedBundle(open_bundle(path), RunOptions(threads=1)) for path in paths]
    source = PhotoFrames(read_folder(data), bundles[0].bundle.labels)
    show = Show(bundles, source, top=3, period_s=1 / rate, told=lambda line: None)
    facts: dict[str, Any] = {"machine": "", "bundles": [{"name": one.name, "about": ""} for one in bundles]}
    facts |= {"total": source.total, "included": [("Inference", "What it is.")]}
    threading.Thread(target=show.run, daemon=True).start()
    with serving(show, host, 0, "</script><b>hostile & loud", facts) as server:
        yield show, server
        show.control("pause")


@pytest.fixture(scope="module")
def server(bundles: Path, few_photos: Path) -> Iterator[Server]:
    with serving_here(bundles / "tflite_int8", data=few_photos) as (_, server):
        yield server


def asked(server: Server, path: str, host: str | None = None, body: str | None = None) -> tuple[int, str, Any]:
    """Ask the server for something; return the status, the text and the headers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    headers = {"Host": host} if host is not None else {}
    connection.request("GET" if body is None else "POST", path, body, headers)
    with closing(connection):
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers


def test_only_who_has_the_token_is_answered(server: Server) -> None:
    token = f"?token={server.token}"
    status, text, headers = asked(server, f"/{token}")
    assert status == 200
    assert "</script><b>" not in text
    allowed = headers["Content-Security-Policy"]
    assert allowed.startswith("default-src 'none'")
    assert "unsafe" not in allowed
    assert headers["Referrer-Policy"] == "no-referrer"
    for path in ("/", "/?token=", "/?token=wrong", f"/{token}x", "/?token=%C3%A9", "/events", "/nothing"):
        status, text, _ = asked(server, path)
        assert (status, text.startswith("the token is missing or wrong")) == (403, True)
    assert asked(server, f"/nothing{token}")[0] == 404
    assert asked(server, "/control", body="pause")[0] == 403
    assert not server.show.state.paused
    assert asked(server, f"/control{token}", body="pause")[0] == 200
    until(lambda: server.show.state.paused)
    assert asked(server, f"/control{token}", body="resume")[0] == 200
    assert asked(server, f"/control{token}", body="explode")[:2] == (
        400,
        "no such action; there are pause, resume, next, previous",
    )
    assert asked(server, f"/control{token}", body="pause" * 10)[0] == 400


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "192.168.1.5", "[::1"]
)
def test_a_name_that_others_could_point_here_is_refused(server: Server, host: str) -> None:
    status, text, _ = asked(server, f"/?token={server.token}", host)
    assert status == 403
    assert "this name is not one of this machine's" in text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "127.0.0.1:1", "[::1]:8765"])
def test_the_machines_own_names_are_taken(server: Server, host: str) -> None:
    """Through a tunnel of ssh, the port is another one."""
    assert asked(server, f"/?token={server.token}", host)[0] == 200


def test_the_network_is_let_in_only_where_it_is_asked_for(server: Server, bundles: Path, few_photos: Path) -> None:
    assert server.local
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", server.server_port), timeout=5)
    with serving_here(bundles / "tflite_int8", data=few_photos, host="0.0.0.0") as (_, everywhere):
        socket.create_connection(("127.0.0.2", everywhere.server_port), timeout=5).close()
        assert not everywhere.local
        assert "127.0.0.1" in everywhere.urls[-1]
        own = f"{socket.gethostname()}:{everywhere.server_port}"
        assert asked(everywhere, f"/?token={everywhere.token}", own)[0] == 200
        assert asked(everywhere, f"/?token={everywhere.token}", "192.168.1.5")[0] == 200
        assert asked(everywhere, f"/?token={everywhere.token}", "evil.example")[0] == 403
        assert asked(everywhere, "/", own)[0] == 403


def test_who_lets_the_network_in_is_told(bundles: Path) -> None:
    with demo(bundles / "tflite_int8", "--host", "0.0.0.0", "--open") as (process, said):
        out = ended(process)
    assert any("others in the network can open this page" in line for line in said)
    assert "the page is there until you press Ctrl-C" in out


def test_the_rate_is_that_of_the_whole_loop(bundles: Path, few_photos: Path) -> None:
    """It keeps to what was asked for, and its work takes longer than the inference and less than the period."""
    with serving_here(bundles / "tflite_int8", data=few_photos, rate=20) as (show, _):
        until(lambda: (show.state.shown.answers[0].samples if show.state.shown else 0) >= 35)
        shown = show.state.shown
    assert shown is not None
    assert shown.per_second is not None
    assert 5 < shown.per_second < 21
    assert shown.answers[0].p50_ms < shown.work_ms


def test_changes_are_counted_once_for_each_photo() -> None:
    tally = Tally(recurring=True)
    same, other = np.array([0.5, 0.3, 0.2], np.float32), np.array([0.25, 0.55, 0.2], np.float32)
    first = tally.add("a", same, same)
    assert (first.first_differs, first.photos, first.changed, first.greatest_difference) == (False, 1, 0, 0.0)
    for _ in range(2):
        change = tally.add("b", same, other)
        assert (change.first_differs, change.photos, change.changed, change.greatest_photo) == (True, 2, 1, "b")
        assert change.difference == change.greatest_difference == pytest.approx(0.25)
        assert change.mean_difference == pytest.approx(0.125)
    frames = Tally(recurring=False)
    assert [frames.add("frame", same, other).photos for _ in range(3)] == [1, 2, 3]


def test_a_video_is_shown_to_its_end(bundles: Path, tmp_path: Path) -> None:
    """A video of pants shows pants; it stands for a camera, which OpenCV reads in the same way."""
    import cv2

    photo = cv2.imread(str(next(file for file in embedded.test_photos().files if file.parent.name == "pants")))
    assert photo is not None
    writer = cv2.VideoWriter(str(tmp_path / "pants.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (320, 320))
    for _ in range(12):
        writer.write(cv2.resize(photo, (320, 320)))
    writer.release()
    source = CameraFrames(open_camera(str(tmp_path / "pants.avi")))
    show = Show(
        [LoadedBundle(open_bundle(bundles / "tflite_int8"), RunOptions())],
        source,
        top=1,
        period_s=0.0,
        told=lambda line: None,
    )
    threading.Thread(target=show.run, daemon=True).start()
    until(lambda: show.state.ended)
    assert show.state.shown is not None
    assert (show.state.shown.photo, show.state.shown.answers[0].samples) == ("frame 12", 12)
    assert show.state.shown.answers[0].classes[0].label == "pants"


def test_photos_of_which_none_can_be_read_end_it(bundles: Path, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text("no photo")
    told: list[str] = []
    bundle = LoadedBundle(open_bundle(bundles / "tflite_int8"), RunOptions())
    source = PhotoFrames(read_folder(tmp_path), bundle.bundle.labels)
    with pytest.raises(InputError, match=r"none of its photos can be read, such as .*not a readable photo"):
        Show([bundle], source, top=3, period_s=0.0, told=told.append).run()
    assert len(told) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("fp32", "int8", "fp32"), 2, "one bundle, or two side by side"),
        (("int8", "--camera", "0", "--data", "photos"), 2, "--camera and --data both say what is shown"),
        (("int8", "--camera", "62"), 3, "camera 62: cannot be opened"),
        (("int8", "--camera", "nothing.avi"), 3, "nothing.avi: cannot be opened"),
        (("int8", "--camera", "picamera"), 6, "apt install python3-picamera2"),
        (("int8", "--data", "nothing"), 3, "no such folder of photos"),
        (("int8", "--host", "no.such.name.invalid"), 2, "no such name or address"),
        (("int8", "--port", "70000"), 2, "--port: '70000' is not a port"),
        (("nothing",), 3, "no such bundle"),
    ],
)
def test_what_does_not_fit_is_one_line(
    arguments: tuple[str, ...], code: int, words: str, here: Command, bundles: Path, tmp_path: Path
) -> None:
    given = [bundles / f"tflite_{one}" if one in ("fp32", "int8") else one for one in arguments]
    done = here("demo", *given, cwd=tmp_path)
    assert done.returncode == code
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_that_is_taken_is_refused_if_it_was_asked_for(here: Command, bundles: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = here("demo", bundles / "tflite_int8", "--port", taken.getsockname()[1])
    assert done.returncode == 7
    assert "cannot be listened on" in done.stderr


def test_opencv_is_named_where_it_is_missing(bundles: Path) -> None:
    script = "import sys\nsys.modules['cv2'] = None\nfrom xedge.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "demo", str(bundles / "tflite_int8"), "--camera", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert "pip install opencv-python-headless" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_it_needs_nothing_that_a_device_has_not() -> None:
    script = "import sys\nbefore = set(sys.modules)\nimport xedge.cli.demo\n"
    script += "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - {"openvino_telemetry"} == {"numpy", "PIL", "xedge"}  # which xedge turns off
