"""A small client of chromedriver (W3C WebDriver over plain HTTP), for tests that look at pages as a reader does."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

#: Why pages can't be looked at here, '' where they can.
LACKING = " and ".join(name for name in ("chromium", "chromedriver") if not shutil.which(name))

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Space": "\ue00d"}


class Browser:
    """A headless Chromium with a profile of its own in `folder`; a context manager."""

    def __init__(self, folder: Path, *, width: int = 1400, height: int = 1000) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        # A session of its own, so that the browser can be ended with its driver.
        self._driver = subprocess.Popen(
            [str(shutil.which("chromedriver")), f"--port={port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._url = f"http://127.0.0.1:{port}"
        try:
            self._wait()
            options = {
                "binary": shutil.which("chromium"),
                "args": [*_FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}"],
            }
            wanted = {
                "alwaysMatch": {
                    "goog:chromeOptions": options,
                    "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
                }
            }
            found = self._ask("POST", "/session", {"capabilities": wanted})
        except BaseException:
            self._end()
            raise
        self._url += f"/session/{found['sessionId']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._ask("DELETE", "", None)
        finally:
            self._end()

    def _end(self) -> None:
        os.killpg(self._driver.pid, signal.SIGTERM)
        self._driver.wait(10)

    def _wait(self) -> None:
        for _ in range(100):
            try:
                self._ask("GET", "/status", None)
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise TimeoutError("chromedriver does not answer")

    def _ask(self, method: str, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._url + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                request, timeout=60
            ) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    def open(self, page: Path, hash: str = "") -> None:
        self._ask("POST", "/url", {"url": "about:blank"})  # or a new hash alone would not load the page again
        self._ask("POST", "/url", {"url": page.absolute().as_uri() + hash})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def until(self, script: str, *arguments: Any) -> Any:
        """What a script returns, as soon as it is true."""
        for _ in range(100):
            if found := self.run(script, *arguments):
                return found
            time.sleep(0.1)
        raise AssertionError(f"never true: {script}\n{self.log()}")

    def _find(self, selector: str) -> str:
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def click(self, selector: str) -> None:
        self._ask("POST", f"/element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        self._ask("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def choose(self, selector: str, label: str) -> None:
        """An option of a select, by what is shown."""
        place = self.run(
            "const s = document.querySelector(arguments[0]);"
            "return [...s.options].findIndex(o => o.textContent === arguments[1])", selector, label,
        )  # fmt: skip
        assert place >= 0, label
        self.click(f"{selector} option:nth-child({place + 1})")

    def press(self, key: str) -> None:
        """A key, to what has the focus."""
        value = KEYS[key]
        actions = [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def texts(self, selector: str) -> list[str]:
        """Of all such elements, as they are shown."""
        found: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText.trim())", selector
        )
        return found

    def media(self, **features: str) -> None:
        """Sets what the page is told of its reader, e.g. prefers_color_scheme='dark'."""
        given = [{"name": n.replace("_", "-"), "value": v} for n, v in features.items()]
        self.devtools("Emulation.setEmulatedMedia", features=given)

    def width(self, width: int, height: int = 1000) -> None:
        """Of the page, as a phone of that size has it."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def log(self) -> list[str]:
        """Errors and warnings of the console since the last time."""
        found = self._ask("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in found if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """Addresses of all that was loaded since the last time."""
        events = [
            json.loads(e["message"])["message"] for e in self._ask("POST", "/se/log", {"type": "performance"})
        ]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def picture(self, file: Path) -> None:
        """The whole page as a PNG."""
        size = self.run(
            "return [document.documentElement.clientWidth, document.documentElement.scrollHeight]"
        )
        clip = {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}
        shot = self.devtools("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(shot["data"]))
