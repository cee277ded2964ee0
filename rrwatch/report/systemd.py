"""Notifies systemd that rrwatch is ready, alive or stopping, and of its status (sd_notify(3))."""

import contextlib
import os
import socket

from rrwatch.report.text import visible


class Notifier:
    """Sends notifications to the service manager, if there is one. Its methods never raise."""

    def __init__(self, address: str | None) -> None:
        """Creates a notifier.

        Args:
            address: the value of NOTIFY_SOCKET, in which `@` begins an abstract address; None sends nothing.
        """
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._ready = False
        self._status = ""

    @classmethod
    def from_environment(cls) -> "Notifier":
        """Creates a notifier for the service manager that started this process."""
        return cls(os.environ.get("NOTIFY_SOCKET"))

    def ready(self) -> None:
        """Reports that the service has started; sent once."""
        if not self._ready:
            self._ready = True
            self._send("READY=1")

    def status(self, text: str) -> None:
        """Reports a status line for people; sent when it changes."""
        if text != self._status:
            self._status = text
            self._send("STATUS=" + visible(text.replace("\n", " ")))

    def alive(self) -> None:
        """Feeds the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Reports that the service is about to end."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(1)
            sender.sendto(message.encode(), self._address)
