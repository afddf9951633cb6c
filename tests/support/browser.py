"""A headless browser by its DevTools protocol, without network: a page's look, and what it asks
for. Scripts of pages do not run unless a test says so.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
    # A test may have a server on this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "about:blank",
)
PATIENCE_S = 120


def find_browser():
    """The path of a browser of Chromium's kin; None if there is none."""
    return next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )


@dataclass(frozen=True)
class Shot:
    """A page as it was shown: its picture (RGB), the width it takes in CSS px, and every address it
    asked for.
    """

    picture: np.ndarray
    width: float
    requests: list[str]


class Browser:
    """One tab, spoken to in messages of JSON that end with a zero byte."""

    def __init__(self, send, receive, scripts):
        self._send, self._receive = send, receive
        self._number, self._session, self._buffer = 0, None, b""
        self._events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)

    def call(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._events.append(answer)

    def shoot(self, address, width, height=800):
        """Load the page at this width of the screen, and take a picture of all of it."""
        self.load(address, width, height)
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": width, "height": size["height"], "scale": 1}
        return Shot(self.photograph(clip), size["width"], self.requests())

    def load(self, address, width, height=800):
        """Load the page at this width of the screen."""
        self._events.clear()
        phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        self.call("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._events.append(self._read())

    def photograph(self, clip):
        """A picture (RGB) of a part of the page: x, y, width, height in CSS px, and scale."""
        shot = self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip
        )
        content = np.frombuffer(base64.b64decode(shot["data"]), np.uint8)
        return cv2.imdecode(content, cv2.IMREAD_COLOR)[:, :, ::-1]

    def requests(self):
        """Every address that the page has asked for since it was loaded."""
        return [
            event["params"]["request"]["url"]
            for event in self._events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def problems(self):
        """What the page's scripts have thrown since it was loaded."""
        return [
            event["params"]["exceptionDetails"]
            for event in self._events
            if event.get("method") == "Runtime.exceptionThrown"
        ]

    def evaluate(self, expression):
        """The value of an expression in the page, awaited where it is a promise."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression, patience_s=PATIENCE_S):
        """Wait until an expression in the page is true."""
        end = time.monotonic() + patience_s
        while not self.evaluate(expression):
            assert time.monotonic() < end, f"never true: {expression}; {self.problems()}"
            time.sleep(0.1)

    def _read(self):
        while b"\0" not in self._buffer:
            assert select.select([self._receive], [], [], PATIENCE_S)[0], (
                "the browser does not answer"
            )
            part = os.read(self._receive, 1 << 20)
            assert part, "the browser has gone"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


@contextmanager
def open_browser(path, profile, scripts=False):
    """A running browser with an empty `profile` folder; scripts: whether those of pages run."""
    (their_in, send), (receive, their_out) = os.pipe(), os.pipe()
    # The browser reads from descriptor 3 and writes to 4; bash, unlike sh, can move any descriptors
    # there.
    command = f'exec "$0" "$@" 3<&{their_in} 4>&{their_out}'
    process = subprocess.Popen(
        ["bash", "-c", command, path, f"--user-data-dir={profile}", *FLAGS],
        pass_fds=(their_in, their_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(their_in)
    os.close(their_out)
    try:
        yield Browser(send, receive, scripts)
    finally:
        os.close(send)
        os.close(receive)
        process.kill()
        process.wait()


def drag(browser, corners):
    """Draw a line with the button of the mouse held down, over places of the screen."""
    kinds = ["mousePressed", *["mouseMoved"] * (len(corners) - 2), "mouseReleased"]
    for kind, (x, y) in zip(kinds, corners, strict=True):
        browser.call(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1
        )


def draw_quarter(browser, address, patch):
    """Draw tumour round the left upper quarter of a training patch of label 1, on a run's page."""
    browser.load(f"{address}#split=train&label=1&order=name&patch={patch}", 1300, 1000)
    browser.evaluate("document.querySelector('article[aria-current] button').click()")
    browser.wait_for(
        "epsam.editor.state.revision === 0 && document.getElementById('large').complete"
    )
    browser.evaluate("document.querySelector('button[name=tumour]').click()")
    left, top, side = browser.evaluate(
        "(() => { const b = document.getElementById('drawing').getBoundingClientRect();"
        "return [b.left, b.top, b.width]; })()"
    )
    far = side / 2
    places = [(1, 1), (far, 1), (far, far), (1, far), (1, far / 2)]
    drag(browser, [(left + x, top + y) for x, y in places])
    browser.wait_for("epsam.editor.state.revision === 1")
