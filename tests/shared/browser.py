"""Headless Chromium, and what a page does in it."""

import base64
import contextlib
import json
import shutil

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--hide-scrollbars"),
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no network
)
PATIENCE = 60  # seconds
DESKTOP, PHONE = (1280, 900), (390, 844)


@contextlib.contextmanager
def chromium(profile):
    """A browser with a new profile in a folder; only where CHROMIUM and DRIVER are."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    logs = {"performance": "ALL", "browser": "ALL"}
    options.set_capability("goog:loggingPrefs", logs)
    browser = webdriver.Chrome(options, Service(DRIVER))
    try:
        yield Browser(browser)
    finally:
        browser.quit()


class Browser:
    """A page at a size and in a theme."""

    def __init__(self, driver):
        self.driver = driver
        self.script = driver.execute_script

    def open(self, file, size=DESKTOP, theme="light"):
        """A file, or an address."""
        address = file if isinstance(file, str) else file.as_uri()
        self.look(size, theme)
        self.driver.get(address)
        self.wait(
            "return location.href === arguments[0] && document.readyState === "
            "'complete' && !!document.querySelector('body > script')",
            address,
        )

    def wait(self, script, *arguments):
        """What a script gives once that is true."""
        wait = WebDriverWait(self.driver, PATIENCE)
        return wait.until(lambda _: self.script(script, *arguments))

    def look(self, size=DESKTOP, theme="light"):
        width, height = size
        phone = size == PHONE
        self._command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self._command("Emulation.setTouchEmulationEnabled", enabled=phone)
        feature = {"name": "prefers-color-scheme", "value": theme}
        self._command("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, file, height=None):
        """The whole page as PNG, or its first `height` pixels."""
        width, full = self.script(
            "return [innerWidth, document.documentElement.scrollHeight]"
        )
        clip = dict(x=0, y=0, width=width, height=height or full, scale=1)
        found = self._command(
            "Page.captureScreenshot", captureBeyondViewport=True, clip=clip
        )
        file.write_bytes(base64.b64decode(found["data"]))

    def requests(self):
        """Addresses asked for since the last call, without data inside the page and
        Chromium's own start page.
        """
        entries = self.driver.get_log("performance")
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        sent = [m for m in messages if m["method"] == "Network.requestWillBeSent"]
        urls = [message["params"]["request"]["url"] for message in sent]
        inside = ("data:", "blob:", "chrome:", "chrome-untrusted:")
        return [url for url in urls if not url.startswith(inside)]

    def save_into(self, folder):
        """Where downloads go."""
        self._command(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder)
        )

    def complaints(self):
        """What the console has said since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def _command(self, name, **arguments):
        return self.driver.execute_cdp_cmd(name, arguments)
