"""A headless browser by its DevTools protocol, without network or scripts: a page's look, and what
it asks for.
"""

import base64
import json
import os
import select
import shutil
import subprocess
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
    "--host-resolver-rules=MAP * ~NOTFOUND",
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

    def __init__(self, send, receive):
        self._send, self._receive = send, receive
        self._number, self._session, self._buffer = 0, None, b""
        self._events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setScriptExecutionDisabled", value=True)

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
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": width, "height": size["height"], "scale": 1}
        shot = self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip
        )
        content = np.frombuffer(base64.b64decode(shot["data"]), np.uint8)
        requests = [
            event["params"]["request"]["url"]
            for event in self._events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        return Shot(cv2.imdecode(content, cv2.IMREAD_COLOR)[:, :, ::-1], size["width"], requests)

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
def open_browser(path, profile):
    """A running browser with an empty `profile` folder."""
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
        yield Browser(send, receive)
    finally:
        os.close(send)
        os.close(receive)
        process.kill()
        process.wait()
