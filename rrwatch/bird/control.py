"""The conversation with a running BIRD, over its control socket: what birdc says, said by rrwatch itself.

One line is a command; a reply is lines `NNNN-text` or ` text`, and ends with `NNNN text` (BIRD's developer
documentation, "Command line interface"). Only codes decide: the texts differ from version to version, and birdc's exit
status is 0 for a refused configuration on BIRD 1.6. The socket rather than the birdc program, because birdc has no
timeout, and because a change is a handful of commands: one connection carries them all.
"""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_exponential

from rrwatch.bird.render import MARKER
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdAbsent, BirdBroken, BirdRefused, BirdTimeout

_END_OF_REPLY = re.compile(r"^([0-9]{4}) (.*)\n", re.MULTILINE)
_SESSION = re.compile(r"^(?:1002-| )(\S+) +BGP ", re.MULTILINE)
_READING = re.compile(r"^0002-Reading configuration from (.+)$", re.MULTILINE)
_MAX_REPLY = 1 << 22  # characters; the longest answer has a line of less than a hundred for each session

_GREETING = 1
_RECONFIGURED = {3, 4, 5}  # at once; some protocols still restart; queued behind one that runs
_SHUTTING_DOWN = {6}
_UP_AND_RUNNING = 13
_CHECKED = 20
_VALUE = 23
_CONFIG_ERROR = 8002


@dataclass(frozen=True, slots=True)
class Reply:
    """BIRD's answer to one command: the code that ends it, that line's text, and the whole as it came."""

    code: int
    text: str
    whole: str


@contextmanager
def connect(path: Path, deadline: Deadline) -> Iterator["Conversation"]:
    """Opens a conversation, all of which must be over by the deadline.

    Args:
        path: BIRD's control socket.

    Raises:
        BirdAbsent: nobody listens there.
        BirdBroken: the socket may not be used, or what listens is no BIRD.
        BirdTimeout: BIRD did not greet in time.
        Stopping: rrwatch was asked to stop.
    """
    with _socket(path) as line:
        try:
            line.settimeout(deadline.slice() or None)
            line.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise BirdAbsent(f"BIRD does not listen on {path}") from error
        except PermissionError as error:
            raise BirdBroken(f"no permission for {path}: rrwatch must run in BIRD's group") from error
        except (BlockingIOError, TimeoutError) as error:
            raise BirdTimeout(f"BIRD does not take connections on {path}") from error
        except OSError as error:
            raise BirdBroken(f"{path}: {error}") from error
        yield Conversation(line, path, deadline)


def listens(path: Path) -> bool:
    """Does anybody take connections there, be it a BIRD that hangs?

    Raises:
        BirdBroken: that cannot be found out now.
    """
    with _socket(path) as line:
        line.setblocking(False)
        try:
            line.connect(str(path))
        except BlockingIOError:
            pass  # its queue is full
        except OSError:
            return False
        return True


def _socket(path: Path) -> socket.socket:
    try:
        return socket.socket(socket.AF_UNIX)
    except OSError as error:
        raise BirdBroken(f"no socket for {path}: {error.strerror}") from error


class Conversation:
    """Commands to one BIRD, one at a time. Every method raises what `connect` raises, and what it says itself."""

    def __init__(self, line: socket.socket, path: Path, deadline: Deadline) -> None:
        self._line, self._path, self._deadline = line, path, deadline
        self._heard = ""
        reply = self.hear()
        if reply.code != _GREETING:
            raise BirdBroken(f"{path}: not BIRD's greeting: {reply.whole!r:.80}")
        self.greeting = reply.text
        """`BIRD 1.6.8 ready.`, say."""

    def ask(self, command: str) -> Reply:
        """Sends one command and waits for the whole reply."""
        try:
            self._line.settimeout(self._deadline.remaining() or None)
            self._line.sendall(command.encode() + b"\n")
        except TimeoutError as error:
            raise BirdTimeout(f"BIRD does not take {command!r} on {self._path}") from error
        except OSError as error:
            raise BirdBroken(f"BIRD hung up on {self._path}") from error
        return self.hear()

    def hear(self) -> Reply:
        """Waits for a whole reply."""
        searched = 0
        while not (end := _END_OF_REPLY.search(self._heard, searched)):
            searched = self._heard.rfind("\n") + 1
            if len(self._heard) > _MAX_REPLY:
                raise BirdBroken(f"{self._path}: an answer without an end")
            self._heard += self._receive()
        whole, self._heard = self._heard[: end.end()], self._heard[end.end() :]
        return Reply(int(end[1]), end[2], whole)

    def generation(self) -> int | None:
        """The generation that BIRD runs; None where it runs a configuration that is not rrwatch's."""
        reply = self.ask(f"eval {MARKER}")
        return int(reply.text) if reply.code == _VALUE and reply.text.isdecimal() else None

    def sessions(self) -> set[str]:
        """The names of the BGP sessions that BIRD has, up or not."""
        return set(_SESSION.findall(self.ask("show protocols").whole))

    def own_file(self) -> str:
        """The path of the file that BIRD was started with, which `configure` and its next start read.

        BIRD names it when it is told to check it (`configure check`, all versions); nothing takes effect. A relative
        path counts from BIRD's working directory. Only when BIRD is idle.
        """
        reply = self.ask("configure check")
        if not (found := _READING.search(reply.whole)):
            raise self._nonsense(reply)
        return found[1]

    def check(self, staged: Path) -> None:
        """Lets BIRD read a configuration, without effect.

        Raises:
            BirdRefused: BIRD would not run it.
        """
        reply = self.ask(f'configure check "{staged}"')
        if reply.code != _CHECKED:
            raise self._refusal(reply)

    def configure(self, path: Path | None = None) -> None:
        """Makes BIRD run what a file says now. Only when it is idle: BIRD 3 dies of a second one.

        Args:
            path: of the file, this once; None: BIRD's own, which it also reads at its next start.

        Raises:
            BirdRefused: BIRD runs on as it was.
            BirdAbsent: BIRD is going down.
        """
        reply = self.ask(f'configure "{path}"' if path else "configure")
        if reply.code in _SHUTTING_DOWN:
            raise BirdAbsent(f"BIRD is shutting down on {self._path}")
        if reply.code not in _RECONFIGURED:
            raise self._refusal(reply)

    def wait_until_idle(self) -> None:
        """Waits until BIRD has no reconfiguration in progress.

        Raises:
            BirdAbsent: BIRD is going down.
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
            raise BirdAbsent(f"BIRD is shutting down on {self._path}")
        return reply.code == _UP_AND_RUNNING and "in progress" not in reply.text

    def _refusal(self, reply: Reply) -> BirdRefused | BirdBroken:
        if reply.code == _CONFIG_ERROR:
            return BirdRefused(reply.text)
        return self._nonsense(reply)

    def _nonsense(self, reply: Reply) -> BirdBroken:
        return BirdBroken(f"BIRD's answer on {self._path} makes no sense: {reply.code:04} {reply.text}")

    def _receive(self) -> str:
        while seconds := self._deadline.slice():
            self._line.settimeout(seconds)
            try:
                received = self._line.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError as error:
                raise BirdBroken(f"BIRD hung up on {self._path}") from error
            if not received:
                raise BirdBroken(f"BIRD hung up on {self._path}")
            return received.decode(errors="backslashreplace")
        raise BirdTimeout(f"BIRD does not answer on {self._path}")
