"""What this BIRD understands: found out by asking it."""

import threading

from rrwatch.bird.control import connect
from rrwatch.bird.install import ConfigFile
from rrwatch.bird.target import Target
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdError, BirdRefused, InstallError

_TIMEOUT = 10.0  # seconds

# The smallest configuration that a BIRD without `krt_tunnel` refuses.
_TUNNEL = """\
router id 192.0.2.1;
protocol device { }
filter tunnels { krt_tunnel = "tunl0"; accept; }
"""
_LINE = 3


def has_tunnels(target: Target, stop: threading.Event) -> bool | None:
    """Does it set a route's tunnel, as Calico's own BIRD does? None where it does not answer, or cannot be asked.

    Raises:
        Stopping: rrwatch was asked to stop.
    """
    # A name of its own: this text must never come near the file itself.
    file = ConfigFile(target.config.with_name(f"{target.config.name}-probe"))
    try:
        with connect(target.socket, Deadline(_TIMEOUT, stop)) as bird:
            bird.check(file.stage(_TUNNEL))
    except BirdRefused as refusal:
        # Without a line it is not the text that is refused: BIRD may not read it.
        return False if f"{file.staged}:{_LINE}:" in str(refusal) else None
    except (BirdError, InstallError):
        return None
    finally:
        file.discard()
    return True
