"""Chromium, as far as tests need it: one page, driven over a pipe by the DevTools protocol, without any package."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

COMPLAINTS = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Audits.issueAdded")
KEYS = {"Tab": 9, "Enter": 13}


class Page:
    """One page of a browser. `complaints`: whatever it wrote to its console, broken rules of the page included."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._asked, self._held = 0, b""
        self.complaints: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank", session="")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True, session="")["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Audits", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, *, session: str | None = None, **params: Any) -> Any:
        """What the browser answers."""
        self._asked += 1
        asked = {"id": self._asked, "method": method, "params": params}
        if session := self._session if session is None else session:
            asked["sessionId"] = session
        os.write(self._to, orjson.dumps(asked) + b"\0")
        while (told := self._next()).get("id") != self._asked:
            pass
        assert "error" not in told, f"{method}: {told}"
        return told["result"]

    def _next(self) -> dict[str, Any]:
        """The next thing that the browser says."""
        while b"\0" not in self._held:
            block = os.read(self._back, 1 << 16)
            assert block, "the browser has gone"
            self._held += block
        text, _, self._held = self._held.partition(b"\0")
        told: dict[str, Any] = orjson.loads(text)
        if told.get("method") in COMPLAINTS:
            self.complaints.append(told)
        return told

    def open(self, url: str) -> None:
        """Go there, and wait until all of it is loaded."""
        self.call("Page.navigate", url=url)
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def see(self, width: int, height: int = 800, *, dark: bool = False) -> None:
        """Look at it through a screen like this."""
        mobile = width < 700
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A Chromium of its own, with its profile in `folder`."""
    ours, theirs = os.pipe(), os.pipe()  # what it reads, what it writes

    def stand_at_3_and_4() -> None:
        for given, number in ((os.dup(ours[0]), 3), (os.dup(theirs[1]), 4)):
            os.dup2(given, number)

    command = ["chromium", "--headless", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu"]
    process = subprocess.Popen(
        [*command, f"--user-data-dir={folder / 'browser'}", "about:blank"],
        close_fds=False,
        preexec_fn=stand_at_3_and_4,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(ours[0])
    os.close(theirs[1])
    try:
        page = Page(ours[1], theirs[0])
        yield page
        page.call("Browser.close", session="")
    finally:
        process.terminate()
        process.wait(30)
        os.close(ours[1])
        os.close(theirs[0])
