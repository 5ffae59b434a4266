"""The site of the docs in a real browser: pages fit phones, can be read by everyone, links hold, and search finds."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import Command, Once

ROOT = Path(__file__).parent.parent
WIDTHS = (390, 768, 1366)
# What of a page reaches beyond the screen and does not lie in something that scrolls. Furo cuts such parts off, so the
# width of the document alone would not show them.
BEYOND = """() => {
    const scrolls = one => ["auto", "scroll"].includes(getComputedStyle(one).overflowX);
    const held = one => one.tagName !== "ARTICLE" && (scrolls(one) || held(one.parentElement));
    const wide = [...document.querySelectorAll("article *:not(pre *)")].filter(one => one.getClientRects().length
        && one.getBoundingClientRect().right > innerWidth + 1 && (scrolls(one) || !held(one.parentElement)));
    const more = document.documentElement.scrollWidth > innerWidth ? ["the document"] : [];
    return [...more, ...wide.map(one => one.outerHTML.slice(0, 80))];
}"""
MISSING = "[...document.querySelectorAll('article img')].filter(one => !one.naturalWidth).map(one => one.src)"
SERIOUS = ("serious", "critical")


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a log."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site(once: Once) -> Path:
    """The site, built as .ci/check builds it: a warning, such as of a link that leads nowhere, is an error."""

    def build(folder: Path) -> None:
        command: list[str | Path] = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q"]
        command += ["-d", folder / "doctrees", "docs", folder / "html"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return once("site", build) / "html"


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The address of the site on this machine's loopback interface, where search may fetch its summaries."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Links(HTMLParser):
    """The links, the anchors and the scripts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what a tag names."""
        given = dict(attrs)
        self.anchors.update(filter(None, [given.get("id"), given.get("name") if tag == "a" else None]))
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        for name in ("src", "href"):
            if tag in ("img", "script", "link") and given.get(name):
                self.loaded.append(str(given[name]))


def read(page: Path) -> Links:
    links = Links()
    links.feed(page.read_text())
    return links


def pages(site: Path) -> list[Path]:
    return sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)


def test_every_local_link_leads_to_a_place_that_exists(site: Path) -> None:
    found = {page: read(page) for page in pages(site)}
    assert site / "start.html" in found
    broken = []
    for page, links in found.items():
        for link in [*links.links, *links.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchors = found[target].anchors if target in found else {parts.fragment}
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in anchors):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert broken == []


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in pages(site):
        assert [one for one in read(page).loaded if urlsplit(one).netloc] == [], page


def test_no_page_is_wider_than_the_screen(browser: Any, address: str, site: Path) -> None:
    tab = browser.new_context().new_page()
    complaints: list[str] = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    for page in pages(site):
        name = str(page.relative_to(site))
        tab.goto(f"{address}/{name}")
        for width in WIDTHS:
            tab.set_viewport_size({"width": width, "height": 800})
            complaints += [f"{name} at {width}: {part}" for part in tab.evaluate(BEYOND)]
        complaints += [f"{name}: {picture} is missing" for picture in tab.evaluate(MISSING)]
    tab.context.close()
    assert complaints == []


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("light", 1366), ("dark", 1366)])
def test_pages_are_accessible(browser: Any, address: str, site: Path, scheme: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    tab = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800}).new_page()
    complaints = []
    for page in pages(site):
        name = str(page.relative_to(site))
        tab.goto(f"{address}/{name}")
        for violation in Axe().run(tab).response["violations"]:
            if violation["impact"] in SERIOUS:
                first = violation["nodes"][0]["html"][:150]
                complaints.append(f"{name}: {violation['id']}, {len(violation['nodes'])} places, such as {first}")
    tab.context.close()
    assert complaints == []


def test_search_finds_a_word_and_leads_to_its_page(browser: Any, address: str) -> None:
    tab = browser.new_context().new_page()
    tab.goto(f"{address}/index.html")
    tab.fill("form.sidebar-search-container input[name=q]", "delegate")
    tab.keyboard.press("Enter")
    first = tab.locator("#search-results ul.search li a").first
    first.wait_for()
    first.click()
    assert not tab.url.startswith(f"{address}/search.html")
    assert "delegate" in tab.locator("article").inner_text().lower()
    tab.context.close()


def test_a_block_of_code_is_copied_by_its_button(browser: Any, address: str) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    tab = context.new_page()
    tab.goto(f"{address}/index.html")
    tab.locator("button.copybtn").first.click(force=True)
    assert tab.evaluate("navigator.clipboard.readText()").strip() == "pip install -e '.[host]'"
    context.close()


def shape(text: str) -> set[str]:
    """Return the lines of a text with each figure as 0, and each run of spaces or dashes as one."""
    lines = (re.sub(r"[-+]?\d[\d.]*", "0", line) for line in text.splitlines())
    return {" ".join(re.sub("-+", "-", line).split()) for line in lines if line.strip()}


@pytest.mark.slow
def test_the_first_page_shows_what_its_commands_print(xedge: Command, tmp_path: Path) -> None:
    """Figures differ between processors; words, columns and lines do not. Times of the table are left out."""
    page = (ROOT / "docs" / "index.md").read_text()
    (tmp_path / "xedge").symlink_to(ROOT / "xedge")
    found = re.findall(
        r"^    xedge ([^\n]+)\n\n<!-- output: \w+ -->\n\n```text\n(.*?)```", page, re.MULTILINE | re.DOTALL
    )
    assert [command.split()[0] for command, _ in found] == ["convert", "run", "predict"]
    for command, shown in found:
        done = xedge(*shlex.split(command), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        printed = shape(done.stdout + done.stderr)
        for line in shape(shown):
            assert any(line in one for one in printed), f"xedge {command} does not print: {line}"
