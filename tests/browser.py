"""A real headless Chromium, driven over its debugging pipe: no driver, no port, no package."""

import json
import os
import select
import shutil
import tempfile
import time
from base64 import b64decode
from pathlib import Path

CHROMIUM = shutil.which("chromium")
PATIENCE_S = 30
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # it may run as root here, and shows only our own page
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


class Browser:
    """One browser process; every page that it opens keeps what it asked for and complained of."""

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="onearm-chromium-")
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        self.out, self.inn, self.buffer, self.turn = ours_out, ours_in, bytearray(), 0
        # Chromium reads its commands from descriptor 3 and answers on 4.
        null = os.open(os.devnull, os.O_RDWR)
        ends = [
            (null, 0),
            (null, 1),
            (null, 2),
            (theirs_in, 10),
            (theirs_out, 11),
            (10, 3),
            (11, 4),
        ]
        self.pid = os.posix_spawn(
            CHROMIUM,
            [CHROMIUM, *FLAGS, f"--user-data-dir={self.folder}"],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, ours, theirs) for ours, theirs in ends],
        )
        os.close(null)
        os.close(theirs_in)
        os.close(theirs_out)
        self.events = []
        return self

    def __exit__(self, *_):
        self.call("Browser.close")
        os.waitpid(self.pid, 0)
        os.close(self.out)
        os.close(self.inn)
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, method, session=None, **parameters):
        self.turn += 1
        message = {"id": self.turn, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            said = self.next()
            if said.get("id") == self.turn:
                assert "error" not in said, said
                return said["result"]
            self.events.append(said)

    def next(self):
        until = time.monotonic() + PATIENCE_S
        while (end := self.buffer.find(0)) < 0:
            left = until - time.monotonic()
            assert left > 0 and select.select([self.inn], [], [], left)[0], "chromium is silent"
            data = os.read(self.inn, 1 << 20)
            assert data, "chromium ended"
            self.buffer += data
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 1]
        return json.loads(line)

    def page(self, url, width=1280, height=800, *, dark=False):
        return Page(self, url, width, height, dark=dark)


class Page:
    def __init__(self, browser, url, width, height, *, dark):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
        self.target, self.session = target, attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.size(width, height)
        self.dark(dark)
        self.call("Page.navigate", url=url)

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def size(self, width, height):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def dark(self, dark):
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def run(self, script):
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait(self, script):
        """Wait until an expression is true."""
        until = time.monotonic() + PATIENCE_S
        while not self.run(script):
            assert time.monotonic() < until, (
                f"never true: {script}\n{self.text()}\n{self.complaints()}"
            )
            time.sleep(0.05)

    def text(self):
        return self.run("document.body.innerText")

    def shot(self, path, *, whole=False):
        options = {}
        if whole:
            box = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": box["width"], "height": box["height"], "scale": 1}
            options = {"clip": clip, "captureBeyondViewport": True}
        data = self.call("Page.captureScreenshot", format="png", **options)["data"]
        Path(path).write_bytes(b64decode(data))

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)

    def heard(self, method):
        self.run("0")
        return [
            e["params"]
            for e in self.browser.events
            if e.get("sessionId") == self.session and e["method"] == method
        ]

    def asked(self):
        """List the addresses that the page asked for."""
        return [e["request"]["url"] for e in self.heard("Network.requestWillBeSent")]

    def complaints(self):
        """List what stands on the console as an error, and exceptions."""
        logged = [e["entry"]["text"] for e in self.heard("Log.entryAdded")]
        thrown = [str(e["exceptionDetails"]) for e in self.heard("Runtime.exceptionThrown")]
        called = [str(e["args"]) for e in self.heard("Runtime.consoleAPICalled")]
        return logged + thrown + called
