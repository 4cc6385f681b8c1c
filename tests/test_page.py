"""The status page as people meet it: on a phone, in the dark, by keyboard, by ear, and while things happen."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from syncd.sandbox.contentsquare import Sandbox
from tests.browser import Page, browser
from tests.home import Home
from tests.sandbox_fixture import running
from tests.test_http import Daemon, at_home, daemon, until

pytestmark = pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium here")
SCREENS = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
WIDTHS = pytest.mark.parametrize("width", [360, 1280])

# of every text that is seen: what it says, its size, and its contrast against what lies behind it
TEXTS = """(() => {
  const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([red, green, blue]) => 0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = parts(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
      if (colour[3] > 0) throw new Error("half seen through: " + each.className);
    }
    return [255, 255, 255];
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement, style = getComputedStyle(element);
    const text = walk.currentNode.data.trim();
    if (!text || !element.checkVisibility() || element.closest(".unseen, .skip, thead")) continue;
    const [one, other] = [light(parts(style.color)), light(behind(element))].sort((a, b) => b - a);
    found.push({text, size: parseFloat(style.fontSize), contrast: (one + 0.05) / (other + 0.05)});
  }
  return found;
})()"""
# whatever reaches beyond the screen, but for what scrolls by itself
BEYOND = """[...document.querySelectorAll("body *")]
  .filter((one) => !one.closest(".wide, .unseen, .skip, thead") && one.checkVisibility())
  .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
  .map((one) => one.tagName + "." + one.className)"""
FOCUSED = """(() => {
  const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
  return {
    what: one.id || one.getAttribute("href") || one.tagName,
    at: [...document.querySelectorAll("*")].indexOf(one),
    ring: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
    seen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
  };
})()"""


class Shown(NamedTuple):
    """A daemon that has something of every kind to show, and its page in a browser."""

    vendor: Sandbox
    syncd: Daemon
    page: Page


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("page")
    with running(jobs=2, days=9, frequency="daily", rows=20, broken_lines=1, failed_runs=1) as vendor:
        acme = vendor.settings() | {"poll_interval": "1s"}
        long_name = "a_source_whose_name_is_as_long_as_it_may_be_here"
        home = Home(
            folder,
            {"acme": acme, long_name: acme | {"client_secret": "wrong"}},
            parse={"max_rejected": 0.9},
            retry_for="0s",
        )
        with daemon(home) as syncd, browser(folder) as page:
            until(lambda: len(syncd.told("run_loaded")) >= 12 and syncd.told("pass_failed"))
            until(lambda: (text := syncd.client.get("/").text).count(">loaded<") > 10 and "Rejected" in text)
            yield Shown(vendor, syncd, page)


def opened(shown: Shown, width: int, *, dark: bool = False) -> Page:
    shown.page.see(width, dark=dark)
    shown.page.open(str(shown.syncd.client.base_url))
    return shown.page


@SCREENS
@WIDTHS
def test_every_text_can_be_read(shown: Shown, width: int, dark: bool) -> None:
    page = opened(shown, width, dark=dark)
    texts = page.run(TEXTS)
    assert len(texts) > 100
    assert [one for one in texts if one["contrast"] < 4.5] == []
    assert [one for one in texts if one["size"] < 12] == []
    paper = page.run("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(19, 22, 20)" if dark else "rgb(251, 251, 249)")


@pytest.mark.parametrize("width", [320, 360, 768, 1000, 1280])
def test_nothing_reaches_beyond_the_screen(shown: Shown, width: int) -> None:
    page = opened(shown, width)
    assert page.run(BEYOND) == []
    assert page.run("document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth")


@WIDTHS
def test_a_keyboard_reaches_everything_in_order(shown: Shown, width: int) -> None:
    page = opened(shown, width)
    met: list[dict[str, Any]] = []
    for _ in range(20):
        page.press("Tab")
        found = page.run(FOCUSED)
        if found["what"] in ("BODY", "HTML") or (met and found["at"] <= met[0]["at"]):
            break
        met.append(found)
        until(lambda: page.run(FOCUSED)["seen"], within_s=5)  # it scrolls there, softly
    names = [one["what"] for one in met]
    assert names == ["#sources", "calendar-box", "/api/status", "/metrics"]
    assert [one["at"] for one in met] == sorted(one["at"] for one in met)
    assert all(one["ring"] >= 2 for one in met), met
    page = opened(shown, width)
    page.press("Tab")
    page.press("Enter")
    assert page.run("location.hash") == "#sources"


def heard(page: Page) -> list[tuple[str, str]]:
    """Role and name of all that a screen reader is told of, in order."""
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")]


@WIDTHS
def test_a_screen_reader_is_told_what_is_where(shown: Shown, width: int) -> None:
    page = opened(shown, width)
    told = heard(page)
    roles = [role for role, _ in told]
    assert [roles.count(role) for role in ("banner", "main", "contentinfo")] == [1, 1, 1]
    headings = [name for role, name in told if role == "heading"]
    sections = [
        "What needs you",
        "Sources",
        "The last 28 days",
        "On their way now",
        "Recent runs",
        "Rejected lines",
        "Disk",
    ]
    assert headings == ["syncd", *sections]
    assert page.run("[...document.querySelectorAll('h1, h2, h3')].map((one) => one.tagName)") == ["H1", *["H2"] * 7]
    regions = [name for role, name in told if role == "region"]
    assert set(sections) <= set(regions)
    for role in ("progressbar", "link", "table", "list", "region"):
        unnamed = [name for kind, name in told if kind == role and not name and role not in ("table", "list")]
        assert unnamed == [], role
    assert page.run("document.documentElement.lang") == "en"
    assert ("table", "") in told or any(role == "table" for role in roles), "a table stays one on a phone"
    columns = {name for role, name in told if role == "columnheader"}
    assert {"Scope", "Complete up to", "Run", "Period", "State", "Rows", "Loaded at"} <= columns
    assert any(role == "rowheader" and name.startswith("acme/") for role, name in told)


def test_nothing_breaks_a_rule_of_the_page(shown: Shown) -> None:
    page = opened(shown, 1280)
    page.complaints.clear()
    page.open(str(shown.syncd.client.base_url))
    seen_at = page.run("document.querySelector('#at').textContent")
    until(lambda: page.run("document.querySelector('#at').textContent") != seen_at)
    assert page.complaints == []
    assert page.run("live.textContent") == "", "no answer was missed"
    page.run("document.body.append(Object.assign(document.createElement('script'), {textContent: '1'}))")
    page.run("new Promise((done) => setTimeout(done, 100))")
    assert "Content Security Policy" in str(page.complaints), "a broken rule would have been seen"


def test_what_happens_is_seen_without_a_reload(shown: Shown) -> None:
    page = opened(shown, 1280)
    page.run("globalThis.kept = 7")
    run = shown.vendor.add_run()
    (fact,) = until(lambda: [one for one in shown.syncd.told("run_loaded") if one["run"].endswith(run.name)])
    began = time.monotonic()
    until(lambda: run.name in page.run("document.querySelector('#recent').textContent"), within_s=20)
    assert time.monotonic() - began < 20, fact
    assert page.run("globalThis.kept") == 7, "it is the same document"


@contextmanager
def changed(client: httpx.Client, later: Callable[[str], str]) -> Iterator[str]:
    """Another address for what the client reads; `later`: the page as it has become, from the second look on."""
    asked = 0

    class Passing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal asked
            asked += self.path == "/"
            answer = client.get(self.path)
            body = later(answer.text).encode() if self.path == "/" and asked > 1 else answer.content
            self.send_response(answer.status_code)
            for name in ("content-type", "content-security-policy", "x-content-type-options"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Passing) as between:
        threading.Thread(target=between.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{between.server_port}/"
        between.shutdown()


def test_a_trouble_that_comes_while_the_page_is_open_is_seen(tmp_path: Path) -> None:
    def troubled(page: str) -> str:
        before, hidden, after = page.partition(' aria-labelledby="troubles-h" hidden>')
        assert hidden
        return f'{before} aria-labelledby="troubles-h"><p>a run was set aside</p>{after}'

    with (
        running(jobs=1, days=1, rows=5) as vendor,
        daemon(at_home(tmp_path, vendor)) as syncd,
        browser(tmp_path) as page,
    ):
        until(lambda: ">loaded<" in syncd.client.get("/").text)
        with changed(syncd.client, troubled) as url:
            page.open(url)
            assert page.run("document.querySelector('#troubles').checkVisibility()") is False
            until(lambda: page.run("document.querySelector('#troubles').checkVisibility()"))
            assert "a run was set aside" in page.run("document.querySelector('#troubles').textContent")
        until(lambda: "syncd does not answer" in page.run("live.textContent"))
