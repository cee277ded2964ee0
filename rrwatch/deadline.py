"""The limit of every wait: a number of seconds, or the moment when rrwatch is asked to stop."""

import threading
import time

from rrwatch.errors import Stopping

_SLICE = 0.25  # seconds after which a blocking call must check for a stop


class Deadline:
    """A point on the monotonic clock, together with the event that asks rrwatch to stop."""

    def __init__(self, seconds: float, stop: threading.Event) -> None:
        self._end = time.monotonic() + seconds
        self._stop = stop

    def remaining(self) -> float:
        """Returns the seconds that are left; 0 if the deadline has passed."""
        return max(0.0, self._end - time.monotonic())

    def slice(self) -> float:
        """Returns a timeout for the next blocking call, short enough to notice a stop; 0 if the deadline has passed.

        Raises:
            Stopping: rrwatch was asked to stop.
        """
        if self._stop.is_set():
            raise Stopping("rrwatch is stopping")
        return min(_SLICE, self.remaining())

    def sleep(self, seconds: float) -> None:
        """Sleeps for so many seconds, or until the deadline.

        Raises:
            Stopping: rrwatch was asked to stop.
        """
        if self._stop.wait(min(seconds, self.remaining())):
            raise Stopping("rrwatch is stopping")
