"""Runs Debian's Chromium without a window, driven by Selenium."""

import contextlib
import tempfile
from collections.abc import Iterator

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from lab.process import program

_TIMEOUT = 10.0  # seconds for a page, and for a script in it

_SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # it does not start as root with one
    "--disable-dev-shm-usage",  # /dev/shm is small in containers
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--no-proxy-server",
    "--force-device-scale-factor=1",
    "--hide-scrollbars",
    "--disable-lcd-text",  # pictures with colours of the page only
)


@contextlib.contextmanager
def browser(width: int = 1200, height: int = 900) -> Iterator[Chrome]:
    """A browser with an empty profile, which ends with the context.

    Args:
        width, height: of what it shows, in pixels.
    """
    options = ChromeOptions()
    options.binary_location = program("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(prefix="rrwatch-browser-") as profile:
        for switch in (*_SWITCHES, f"--window-size={width},{height}", f"--user-data-dir={profile}"):
            options.add_argument(switch)
        driver = Chrome(options, Service(program("chromedriver")))
        try:
            driver.set_page_load_timeout(_TIMEOUT)
            driver.set_script_timeout(_TIMEOUT)
            yield driver
        finally:
            driver.quit()


def emulate(driver: Chrome, *, dark: bool = False, scripts: bool = True) -> None:
    """Sets the colour scheme that the user prefers, and whether pages may run scripts."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
