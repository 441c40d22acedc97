"""A playground and a browser for the tests of its pages.

The server is a process of its own, so it meets no settings of the tests' (warnings are errors there).  Browsers see
the page as a person does; they wait for conditions with a deadline and never sleep.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
DEADLINE = 20.0  # seconds for what a person would see at once; the machine may be busy
LOADING = 45.0  # seconds for a page: its scripts, and NiceGUI's connection


def missing() -> str:
    """Why no browser can be tested here; "" if one can."""
    for name in ("nicegui", "selenium"):
        if find_spec(name) is None:  # importing them takes a second, in every process that runs tests
            return f"{name} is not installed"
    for what, found in (("chromium", CHROMIUM), ("chromedriver", DRIVER)):
        if not found:
            return f"there is no {what}"
    return ""


class Server:
    """``valuegrad play`` on a free port."""

    def __init__(self, *options: str) -> None:
        # NiceGUI behaves otherwise when it finds that pytest runs it.
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "NICEGUI_"))}
        command = [sys.executable, "-m", "valuegrad", "play", "--port", "0", "--no-browser", *options]
        self.process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
        )
        self.output: list[str] = []
        self._started = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._started.wait(60.0)
        found = re.search(r"http://\S+", "".join(self.output))
        if found is None:
            self.stop()
            raise AssertionError(f"the playground did not start: {''.join(self.output)}")
        self.address = found[0].rstrip("/")

    def _read(self) -> None:
        for line in self.process.stdout:
            self.output.append(line)
            if "http://" in line:
                self._started.set()
        self._started.set()

    def stop(self) -> int:
        """End it as Ctrl-C does; its exit code."""
        import signal

        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(30.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the playground does not end: {''.join(self.output)}") from None
        self._reader.join(10.0)
        self.process.stdout.close()
        return code


@contextmanager
def browser():
    """A browser of its own, with nothing kept from others."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--force-prefers-reduced-motion",  # no colours on their way to others
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            f"--user-data-dir={folder}/profile",
            "--window-size=1280,900",
        ):
            options.add_argument(argument)
        options.add_experimental_option("prefs", {"download.default_directory": folder})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        own = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # of our sanitizers
        driver = webdriver.Chrome(options=options, service=Service(DRIVER, env=own))
        try:
            driver.set_page_load_timeout(LOADING)
            yield Person(driver, Path(folder))
        finally:
            driver.quit()


class Person:
    """What a person does with a page, and sees of it."""

    def __init__(self, driver, folder: Path) -> None:
        self.driver = driver
        self.folder = folder  # where downloads go

    @contextmanager
    def on_a_phone(self, width: int, height: int, *, dark: bool = False):
        """In a tab of its own, which is as large as a phone and perhaps dark."""
        before = self.driver.current_window_handle
        self.driver.switch_to.new_window("tab")
        try:
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
            self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            still = {"name": "prefers-reduced-motion", "value": "reduce"}  # given features take all others' place
            self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})
            yield
        finally:
            self.driver.close()
            self.driver.switch_to.window(before)

    def open(self, address: str) -> None:
        """Open a page, and wait until it can be used."""
        self.driver.get(address)
        self.until(
            lambda: self.driver.execute_script(
                "return Boolean(document.querySelector('h1') && window.socket && window.socket.connected)"
            ),
            "the page is there",
            LOADING,
        )

    def until(self, condition, what: str, deadline: float = DEADLINE):
        """Wait until something is true; what it is then."""
        from selenium.common.exceptions import StaleElementReferenceException, TimeoutException, WebDriverException
        from selenium.webdriver.support.ui import WebDriverWait

        ignored = [StaleElementReferenceException, AssertionError]
        try:
            return WebDriverWait(self.driver, deadline, 0.1, ignored).until(lambda _: condition())
        except TimeoutException:
            try:
                seen = self.text()
            except WebDriverException as error:
                seen = f"(nothing: {error})"
            raise AssertionError(f"not within {deadline:g} s: {what}; the page says:\n{seen}") from None

    def text(self) -> str:
        """All that is written on the page."""
        return self.driver.find_element("tag name", "body").text

    def sees(self, text: str, deadline: float = DEADLINE) -> None:
        """Wait until something is written on the page."""
        self.until(lambda: text in self.text(), f"{text!r} is written", deadline)

    def all(self, css: str):
        """The elements that a CSS selector finds now."""
        return self.driver.find_elements("css selector", css)

    def one(self, css: str):
        """The first element that a CSS selector finds, once there is one."""
        return self.until(lambda: (self.all(css) or [None])[0], f"there is {css}")

    def press(self, name: str) -> None:
        """Press the button of a name."""
        path = f"//button[normalize-space()={_quoted(name)} or @aria-label={_quoted(name)}]"
        self.until(lambda: self._pressed(path), f"the button {name!r} can be pressed")

    def _pressed(self, path: str) -> bool:
        from selenium.common.exceptions import ElementClickInterceptedException

        for button in self.driver.find_elements("xpath", path):
            if button.is_displayed() and button.is_enabled():
                self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
                try:
                    button.click()
                except ElementClickInterceptedException:
                    return False
                return True
        return False

    def fill(self, label: str, content: str) -> None:
        """Write into the field of a label, in place of what is there, and leave it."""
        from selenium.webdriver.common.keys import Keys

        field = self.one(f'[aria-label="{label}"]')
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", field)
        field.click()
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(Keys.BACKSPACE)
        if len(content) > 100:  # is pasted: a thousand keys are a thousand events, for which a busy machine takes long
            self.driver.execute_script("document.execCommand('insertText', false, arguments[0])", content)
        else:
            field.send_keys(content)
        field.send_keys(Keys.TAB)

    def pressed_until(self, name: str, seen: str) -> bool:
        """Press a button if need be; whether something is written on the page."""
        self.press(name)
        return seen in self.text()

    def choose(self, button: str, file: Path) -> None:
        """Choose a file in the dialog that a button opens."""
        field = self.one(f'.vg-gone[data-for="{button}"] input[type=file]')
        field.send_keys(str(file))

    def focused(self) -> str:
        """The classes of what has the focus."""
        return self.driver.switch_to.active_element.get_attribute("class") or ""

    def address(self) -> str:
        """What stands in the address line."""
        return self.driver.execute_script("return location.href")

    def requests(self) -> list[str]:
        """The addresses of all that the browser has asked for since the last time this was asked."""
        import json

        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        kinds = ("Network.requestWillBeSent", "Network.webSocketCreated")
        found = [m["params"] for m in messages if m["method"] in kinds]
        return [params["url"] if "url" in params else params["request"]["url"] for params in found]

    def complaints(self) -> list[str]:
        """What the browser complained about in its console."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def reads_well(self) -> None:
        """Wait until every text stands out from what is behind it as AA asks for; colours may change gradually."""
        faint: list[str] = []
        still = "return document.getAnimations().every(each => each.playState !== 'running')"
        self.until(lambda: self.driver.execute_script(still), "no colour is on its way to another one")

        def well() -> bool:
            faint[:] = self.driver.execute_script(FAINT)
            return not faint

        try:
            self.until(well, "every text stands out", 5.0)
        except AssertionError:
            assert faint == []
            raise

    def controls(self) -> list[tuple[str, str]]:
        """What can be used, as screen readers know it: role and name."""
        tree = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        known = [
            (node.get("role", {}).get("value"), node.get("name", {}).get("value"))
            for node in tree
            if not node["ignored"]
        ]
        return [(role, name) for role, name in known if role in CONTROLS]

    def nameless(self) -> list[str]:
        """The roles of what has no name for screen readers."""
        return [role for role, name in self.controls() if not name]

    def width(self) -> tuple[int, int]:
        """How wide the page is, and how wide the window."""
        script = "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]"
        return tuple(self.driver.execute_script(script))

    def screenshot(self, path) -> None:
        """The whole page as a picture."""
        import base64

        made = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        Path(path).write_bytes(base64.b64decode(made["data"]))


CONTROLS = {"button", "textbox", "spinbutton", "combobox", "link", "slider", "checkbox", "switch", "region", "img"}
# The texts that stand out from what is behind them less than AA asks for (WCAG 2.1, 1.4.3); what is disabled may.
FAINT = """
    const light = (c) => { const [r, g, b] = c.map(x => (x /= 255) <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
                           return .2126 * r + .7152 * g + .0722 * b; };
    // What color-mix gives is written color(srgb 0.9 0.9 1).
    const numbers = (text) => text.match(/[\\d.]+/g).map((x, i) => text.startsWith('color') && i < 3 ? 255 * x : +x);
    const behind = (e) => { for (; e; e = e.parentElement) { const c = numbers(getComputedStyle(e).backgroundColor);
                            if (c.length < 4 || c[3] > .99) return c.slice(0, 3); } return [255, 255, 255]; };
    const found = [];
    const walker = document.createTreeWalker(document.getElementById('app'), NodeFilter.SHOW_TEXT);
    for (let node; node = walker.nextNode();) {
        const e = node.parentElement;
        if (!node.textContent.trim() || !e.checkVisibility() || e.closest('.disabled, [aria-disabled=true]')) continue;
        if (e.closest('.q-icon, .material-icons, .nicegui-skip-link, .vg-hidden')) continue;
        const style = getComputedStyle(e), a = light(numbers(style.color).slice(0, 3)), b = light(behind(e));
        const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        if (contrast < (large ? 3 : 4.5)) found.push(`${contrast.toFixed(2)} ${node.textContent.trim().slice(0, 40)}`);
    }
    return found;
"""


def _quoted(text: str) -> str:
    return f"'{text}'" if "'" not in text else f'"{text}"'


needs_browser = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
