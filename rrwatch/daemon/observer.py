"""Asks one BIRD how its sessions are, and listens to why they end: a thread for each BIRD."""

import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rrwatch.bird.control import Connection, connect
from rrwatch.bird.detect import birth
from rrwatch.bird.echo import Echo
from rrwatch.bird.protocols import BgpProtocol, bgp_protocols, server_time
from rrwatch.bird.target import Target
from rrwatch.daemon.session_table import Observation
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdAbsent, BirdError, Stopping
from rrwatch.report.sessions import Moment

POLL_INTERVAL = 5.0
"""Seconds between two polls of one BIRD, unless they take long."""

_SHARE = 200  # a poll is followed by a pause of so many times its duration, so that it costs BIRD less than 0.5 %
_PAUSE_MAX = 300.0  # seconds between two polls, however long they take
_TIMEOUT = 5.0  # seconds for one poll; BIRD answers for 20,000 sessions within 0.1 s
_ECHO_TIMEOUT = 2.0  # seconds for BIRD to begin to send its log
_RETRY_MAX = 60.0  # seconds between two attempts to listen to its log
_SLICE = 0.25  # seconds after which a wait must check for a stop
_GATHER = 0.1  # seconds between two reads of BIRD's log
_CAUSES_MAX = 20_000  # sessions whose errors are kept until the next poll


class Quiet:
    """Keeps polls away while BIRD is configured: a poll waits for the end of a pass, a pass never waits for a poll."""

    def __init__(self) -> None:
        self._free = threading.Event()
        self._free.set()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """A context in which no poll begins."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def wait(self, seconds: float) -> bool:
        """Waits until a poll may begin, but not longer; returns whether it may."""
        return self._free.wait(seconds)


class Observer:
    """Polls one BIRD every few seconds, on a connection of its own, and reads its log on another one."""

    def __init__(
        self, target: Target, quiet: Quiet, publish: Callable[[Observation], None], interval: float = POLL_INTERVAL
    ) -> None:
        """Does nothing before `start()`.

        Args:
            quiet: tells when not to poll.
            publish: called with each observation, from the observer's thread.
            interval: the least number of seconds between two polls.
        """
        self._target, self._quiet, self._publish, self._interval = target, quiet, publish, interval
        self._stop = threading.Event()
        self._known: Mapping[str, BgpProtocol] = {}
        self._text = ""
        self._causes: dict[str, str] = {}
        self._echo: Echo | None = None
        self._echo_due, self._echo_pause = 0.0, interval
        self._answered = True
        self._thread = threading.Thread(target=self._run, name=f"sessions of {target.name}", daemon=True)

    def start(self) -> None:
        """Polls from now on, in a thread."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Makes the thread end soon."""
        self._stop.set()

    def stop(self) -> None:
        """Ends the thread; waits for it no longer than a second."""
        self.ask_to_stop()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._quiet.wait(_SLICE):
                continue
            try:
                self._listen()
                pause = self._poll()
                self._follow(time.monotonic() + pause)
            except Stopping:
                break
            except Exception as error:  # noqa: BLE001  # a defect must not end the polls; the status shows it
                self._publish(Observation(self._target.name, Moment.now(), error=repr(error)))
                self._stop.wait(self._interval)
        self._close_echo()

    def _poll(self) -> float:
        """Asks BIRD once; returns the seconds until the next poll."""
        at = Moment.now()
        born = birth(self._target.socket)
        try:
            with connect(self._target.socket, Deadline(_TIMEOUT, self._stop)) as bird:
                seen = self._ask(bird, at, born)
        except BirdError as error:
            stopped = isinstance(error, BirdAbsent)
            if stopped:
                self._known, self._text = {}, ""
                self._causes = {}
            seen = Observation(self._target.name, at, birth=born, error=str(error), stopped=stopped)
        self._publish(seen)
        if seen.sessions is None:
            self._answered = False
            return self._interval
        if not self._answered:
            self._answered, self._echo_due = True, 0.0
        return min(_PAUSE_MAX, max(self._interval, _SHARE * seen.took))

    def _ask(self, bird: Connection, at: Moment, born: int) -> Observation:
        began = time.perf_counter()
        clock = server_time(bird.ask("show status").whole)
        text = bird.ask("show protocols").whole
        took = time.perf_counter() - began
        if text != self._text:
            self._known, self._text = bgp_protocols(text, self._known), text
        causes, self._causes = self._causes, {}
        return Observation(self._target.name, at, took, born, self._known, clock, causes)

    def _listen(self) -> None:
        """Makes BIRD send its log, if it does not yet; without it, only the errors of the polls are known."""
        if self._echo or time.monotonic() < self._echo_due:
            return
        try:
            self._echo = Echo(self._target.socket, Deadline(_ECHO_TIMEOUT, self._stop))
            self._echo_pause = self._interval
            self._collect(self._echo)
        except BirdError:
            self._echo_pause = min(_RETRY_MAX, 2 * self._echo_pause)
        self._echo_due = time.monotonic() + self._echo_pause

    def _follow(self, until: float) -> None:
        """Collects causes until the next poll, or until BIRD hangs up."""
        while (left := until - time.monotonic()) > 0:
            if not (self._echo and self._echo.allowance()):
                # A log that has reached its limit is read again in the next second.
                if self._stop.wait(min(left, 1.0) if self._echo else left):
                    return
                continue
            if self._stop.is_set():
                return
            poller = select.poll()
            poller.register(self._echo, select.POLLIN)
            if not poller.poll(1000 * min(left, _SLICE)):
                continue
            if not self._collect(self._echo):
                return  # BIRD may have ended: a poll will tell
            # It may log something about each of thousands of sessions: many lines at a time cost less.
            self._stop.wait(min(left, _GATHER))

    def _collect(self, echo: Echo) -> bool:
        """Reads BIRD's log; returns whether there may be more."""
        causes = echo.causes()
        if causes is None:
            self._close_echo()
            return False
        for one in causes:
            if len(self._causes) < _CAUSES_MAX or one.name in self._causes:
                self._causes[one.name] = one.error
        return True

    def _close_echo(self) -> None:
        if self._echo:
            self._echo.close()
            self._echo = None
