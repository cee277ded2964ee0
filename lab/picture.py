"""Takes the picture of the status page that README shows: `make screenshot`."""

import contextlib
import subprocess
from pathlib import Path

from lab.browser import browser, emulate
from lab.process import program, wait_until
from lab.statuses import reflector
from rrwatch.report.http import StatusServer
from rrwatch.settings.values import Listen

_PICTURE = Path(__file__).parent.parent / "docs" / "images" / "status-page.png"
_WIDTH, _HEIGHT = 1200, 900


def main() -> None:
    """Takes the picture of a reflector with 5,000 sessions, some of which are down."""
    server = StatusServer(Listen("127.0.0.1", 0))
    server.publish(reflector(5000, down=7, flapping=2, rejected=1))
    with contextlib.ExitStack() as stack:
        server.start()
        stack.callback(server.stop)
        wait_until(lambda: server.address, "the address of the page")
        driver = stack.enter_context(browser(_WIDTH, _HEIGHT))
        emulate(driver)
        driver.get(f"http://{server.address}/?state=down&sort=since")
        _PICTURE.parent.mkdir(exist_ok=True)
        height = driver.execute_script("return document.documentElement.scrollHeight")
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": _WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        _PICTURE.write_bytes(_small(driver.get_screenshot_as_png()))


def _small(picture: bytes) -> bytes:
    """Returns a PNG with at most 256 colours."""
    return subprocess.run(
        [program("pngquant"), "--speed", "1", "-"], input=picture, capture_output=True, timeout=60, check=True
    ).stdout


if __name__ == "__main__":
    main()
