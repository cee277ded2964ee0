"""Waits of tests."""

import json
import urllib.request
from typing import Any

from lab.bird import Bird
from lab.daemon import Rrwatch
from lab.process import wait_until


def wait_for_sessions(bird: Bird, wanted: set[str], seconds: float = 15.0) -> None:
    """Waits until BIRD has exactly those sessions."""
    try:
        wait_until(lambda: bird.sessions() == wanted, "sessions", seconds)
    except TimeoutError:
        assert bird.sessions() == wanted
        raise


def names(*addresses: str) -> set[str]:
    """Returns the names of a reflector's sessions with nodes that have those addresses."""
    return {f"Global_{address.replace('.', '_')}" for address in addresses}


def status_of(rrwatch: Rrwatch) -> dict[str, Any]:
    """Returns the document of the status page."""
    with urllib.request.urlopen(f"http://{rrwatch.status_address}/status", timeout=5) as page:
        document: dict[str, Any] = json.load(page)
        return document


def metric(rrwatch: Rrwatch, name: str) -> float:
    """Returns the value of one time series in `/metrics`; 0 if it does not exist."""
    with urllib.request.urlopen(f"http://{rrwatch.status_address}/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.rsplit(" ", 1)[0] == name), 0.0)
