"""What tests wait for."""

from lab.bird import Bird
from lab.process import wait_until


def wait_for_sessions(bird: Bird, wanted: set[str], seconds: float = 15.0) -> None:
    """Until BIRD has exactly those sessions."""
    try:
        wait_until(lambda: bird.sessions() == wanted, "sessions", seconds)
    except TimeoutError:
        assert bird.sessions() == wanted
        raise


def names(*addresses: str) -> set[str]:
    """The sessions of a reflector with nodes that have those addresses."""
    return {f"Global_{address.replace('.', '_')}" for address in addresses}
