"""A client of BIRD's control socket, with the commands that rrwatch needs.

A command is one line. A reply consists of lines `NNNN-text` or ` text`, and ends with a line `NNNN text` (BIRD's
developer documentation, "Command line interface"). Only the codes count: texts differ between versions, and so does the
exit status of birdc, which is 0 for a rejected configuration with BIRD 1.6. rrwatch uses the socket instead of birdc
because birdc has no timeout, and because one connection serves all commands of a change.
"""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_exponential

from rrwatch.bird.messages import quoted
from rrwatch.bird.render import MARKER
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdAbsent, BirdBroken, BirdRefused, BirdTimeout

_LAST_LINE = re.compile(rb"^([0-9]{4}) ([^\n]*)\n", re.MULTILINE)
_SESSION = re.compile(r"^(?:1002-| )(\S+) +BGP ", re.MULTILINE)
_READING = re.compile(r"^0002-Reading configuration from (.+)$", re.MULTILINE)
_GENERATION = re.compile(r"[0-9]{1,10}")

_MAX_REPLY = 1 << 22  # bytes; the longest reply has a line of less than a hundred for each session

_GREETING = 1
_RECONFIGURED = {3, 4, 5}  # done; some protocols still restart; queued behind another reconfiguration
_SHUTTING_DOWN = {6}
_UP_AND_RUNNING = 13
_CHECKED = 20
_VALUE = 23
_CONFIG_ERROR = 8002


@dataclass(frozen=True, slots=True)
class Reply:
    """BIRD's reply to one command.

    Attributes:
        code: the code of the last line.
        text: the text of the last line.
        whole: all lines, with their codes.
    """

    code: int
    text: str
    whole: str


@contextmanager
def connect(path: Path, deadline: Deadline) -> Iterator["Connection"]:
    """Opens a connection to BIRD and waits for its greeting; a context manager, which closes the connection.

    Args:
        path: BIRD's control socket.
        deadline: the limit of all that happens on the connection.

    Raises:
        BirdAbsent: nothing listens on the socket.
        BirdBroken: permission is denied, or it is not BIRD that listens.
        BirdTimeout: BIRD did not send its greeting in time.
        Stopping: rrwatch was asked to stop.
    """
    with _socket(path) as sock:
        try:
            sock.settimeout(_timeout(path, deadline))
            sock.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise BirdAbsent(f"BIRD does not listen on {path}") from error
        except PermissionError as error:
            raise BirdBroken(f"no permission for {path}: rrwatch must run in BIRD's group") from error
        except (BlockingIOError, TimeoutError) as error:
            raise BirdTimeout(f"BIRD does not accept connections on {path}") from error
        except OSError as error:
            raise BirdBroken(f"{path}: {error}") from error
        yield Connection(sock, path, deadline)


def listens(path: Path) -> bool:
    """Returns whether a process listens on the socket, even if it hangs.

    Raises:
        BirdBroken: no socket can be opened to find out.
    """
    with _socket(path) as sock:
        sock.setblocking(False)
        try:
            sock.connect(str(path))
        except BlockingIOError:
            pass  # its queue of connections is full
        except OSError:
            return False
        return True


class Connection:
    """A connection to one BIRD. Every method may raise what `connect` raises, beside its own errors."""

    def __init__(self, sock: socket.socket, path: Path, deadline: Deadline) -> None:
        """Waits for BIRD's greeting.

        Args:
            sock: is connected.
            path: names the socket in messages.
        """
        self._sock, self._path, self._deadline = sock, path, deadline
        self._received = bytearray()
        reply = self._next_reply()
        if reply.code != _GREETING:
            raise BirdBroken(f"{path}: not BIRD's greeting: {quoted(reply.whole)}")
        self.greeting = quoted(reply.text)
        """The text of the greeting, for example `BIRD 1.6.8 ready.`"""

    def ask(self, command: str) -> Reply:
        """Sends one command and returns BIRD's reply."""
        try:
            self._sock.settimeout(_timeout(self._path, self._deadline))
            self._sock.sendall(command.encode() + b"\n")
        except TimeoutError as error:
            raise BirdTimeout(f"BIRD does not accept {command!r} on {self._path}") from error
        except OSError as error:
            raise self._hung_up() from error
        return self._next_reply()

    def detach(self) -> tuple[socket.socket, bytes]:
        """Returns a socket of the same connection, which the caller closes, and what came after the last reply."""
        try:
            return self._sock.dup(), bytes(self._received)
        except OSError as error:
            raise BirdBroken(f"no socket for {self._path}: {error.strerror}") from error

    def generation(self) -> int | None:
        """Returns the generation that BIRD runs; None if its configuration is not rrwatch's."""
        reply = self.ask(f"eval {MARKER}")
        return int(reply.text) if reply.code == _VALUE and _GENERATION.fullmatch(reply.text) else None

    def sessions(self) -> set[str]:
        """Returns the names of BIRD's BGP sessions, established or not."""
        return set(_SESSION.findall(self.ask("show protocols").whole))

    def own_file(self) -> str:
        """Returns the path of the file that BIRD was started with, which `configure` and its next start read.

        BIRD reports it when it checks that file (`configure check`, all versions), which has no effect. A relative path
        is relative to BIRD's working directory.
        """
        self.wait_until_idle()
        reply = self.ask("configure check")
        if not (found := _READING.search(reply.whole)):
            raise self._not_understood(reply)
        return found[1]

    def check(self, file: Path) -> None:
        """Makes BIRD parse a configuration, without effect.

        Raises:
            BirdRefused: BIRD rejects the configuration.
        """
        self.wait_until_idle()
        reply = self.ask(f'configure check "{file}"')
        if reply.code != _CHECKED:
            raise self._refusal(reply)

    def configure(self, file: Path | None = None) -> None:
        """Makes BIRD run what a file contains now.

        Args:
            file: the file to read this once; None for BIRD's own file, which it also reads when it is restarted.

        Raises:
            BirdRefused: BIRD rejects the configuration, and runs the one that it had.
            BirdAbsent: BIRD is shutting down.
        """
        self.wait_until_idle()
        reply = self.ask(f'configure "{file}"' if file else "configure")
        if reply.code in _SHUTTING_DOWN:
            raise self._shutting_down()
        if reply.code not in _RECONFIGURED:
            raise self._refusal(reply)

    def wait_until_idle(self) -> None:
        """Waits until no reconfiguration is in progress: BIRD 3 aborts if it is asked for another one meanwhile.

        Raises:
            BirdAbsent: BIRD is shutting down.
        """
        polling = Retrying(
            retry=retry_if_result(lambda idle: not idle),
            wait=wait_exponential(multiplier=0.005, max=0.25),
            stop=stop_after_delay(self._deadline.remaining()),
            sleep=self._deadline.sleep,
        )
        try:
            polling(self._is_idle)
        except RetryError as error:
            raise BirdTimeout(f"BIRD is still busy with a reconfiguration on {self._path}") from error

    def _is_idle(self) -> bool:
        reply = self.ask("show status")
        if "shutdown" in reply.text.lower():
            raise self._shutting_down()
        return reply.code == _UP_AND_RUNNING and "in progress" not in reply.text

    def _next_reply(self) -> Reply:
        searched = 0
        while not (last := _LAST_LINE.search(self._received, searched)):
            searched = self._received.rfind(b"\n") + 1
            if len(self._received) > _MAX_REPLY:
                raise BirdBroken(f"{self._path}: a reply of more than {_MAX_REPLY} bytes")
            self._received += self._receive()
        reply = Reply(int(last[1]), _decoded(last[2]), _decoded(self._received[: last.end()]))
        self._received = self._received[last.end() :]
        return reply

    def _receive(self) -> bytes:
        while True:
            self._sock.settimeout(_timeout(self._path, self._deadline))
            try:
                received = self._sock.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError as error:
                raise self._hung_up() from error
            if not received:
                raise self._hung_up()
            return received

    def _refusal(self, reply: Reply) -> BirdRefused | BirdBroken:
        return BirdRefused(quoted(reply.text)) if reply.code == _CONFIG_ERROR else self._not_understood(reply)

    def _not_understood(self, reply: Reply) -> BirdBroken:
        return BirdBroken(f"BIRD's answer on {self._path} makes no sense: {reply.code:04} {quoted(reply.text)}")

    def _shutting_down(self) -> BirdAbsent:
        return BirdAbsent(f"BIRD is shutting down on {self._path}")

    def _hung_up(self) -> BirdBroken:
        return BirdBroken(f"BIRD hung up on {self._path}")


def _socket(path: Path) -> socket.socket:
    try:
        return socket.socket(socket.AF_UNIX)
    except OSError as error:
        raise BirdBroken(f"no socket for {path}: {error.strerror}") from error


def _timeout(path: Path, deadline: Deadline) -> float:
    """Returns the timeout of the next call; a deadline that has passed must not become a call without timeout."""
    seconds = deadline.slice()
    if not seconds:
        raise BirdTimeout(f"BIRD does not answer on {path}")
    return seconds


def _decoded(reply: bytes | bytearray) -> str:
    return reply.decode(errors="backslashreplace")
