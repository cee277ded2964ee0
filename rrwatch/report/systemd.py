"""Word to systemd: ready, alive, stopping, and a line on how things stand (sd_notify(3))."""

import contextlib
import os
import socket


class Notifier:
    """Speaks to the service manager, where there is one. Never raises: rrwatch does not depend on who started it."""

    def __init__(self, address: str | None) -> None:
        """Makes a notifier.

        Args:
            address: the value of NOTIFY_SOCKET; `@` begins an abstract one. None: nobody listens.
        """
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._ready = False
        self._status = ""

    @classmethod
    def from_environment(cls) -> "Notifier":
        """The service manager that started this process."""
        return cls(os.environ.get("NOTIFY_SOCKET"))

    def ready(self) -> None:
        """The service has started; said once."""
        if not self._ready:
            self._ready = True
            self._say("READY=1")

    def status(self, text: str) -> None:
        """A line for people; said when it changes."""
        if text != self._status:
            self._status = text
            self._say("STATUS=" + text.replace("\n", " "))

    def alive(self) -> None:
        """Feeds the watchdog."""
        self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """The service is about to end."""
        self._say("STOPPING=1")

    def _say(self, message: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.settimeout(1)
            line.sendto(message.encode(), self._address)
