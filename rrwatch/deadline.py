"""The bound that every wait has: so many seconds, or until rrwatch is asked to stop."""

import threading
import time

from rrwatch.errors import Stopping

_SLICE = 0.25  # seconds that a blocking call may take no notice of a stop


class Deadline:
    """A point on the monotonic clock, and the stop that may come before it."""

    def __init__(self, seconds: float, stop: threading.Event) -> None:
        self._end = time.monotonic() + seconds
        self._stop = stop

    def remaining(self) -> float:
        """Seconds left, 0 where the time is over."""
        return max(0.0, self._end - time.monotonic())

    def slice(self) -> float:
        """Seconds for the next blocking call, after which it should look here again; 0 where the time is over.

        Raises:
            Stopping: rrwatch was asked to stop.
        """
        if self._stop.is_set():
            raise Stopping("rrwatch is stopping")
        return min(_SLICE, self.remaining())

    def sleep(self, seconds: float) -> None:
        """Sleeps, for the time that is left at most.

        Raises:
            Stopping: rrwatch was asked to stop.
        """
        if self._stop.wait(min(seconds, self.remaining())):
            raise Stopping("rrwatch is stopping")
