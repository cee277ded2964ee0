"""All errors that rrwatch raises on purpose.

RrwatchError
├── UsageError            a setting or an argument that cannot be used
├── UnknownKeys           a file of keys without any key of Calico's
├── NoDaemon              no running rrwatch answers on the address of its status pages
├── DatastoreError
│   ├── TransportError    no usable answer; another endpoint may have one
│   │   └── WrongApi      an etcd that does not serve the API that is set
│   └── Resync            the watch has a gap: list again
├── StateError            the state directory cannot be used
│   └── BaselineUnreadable    what was in force before may be there, and cannot be read
├── OwnedElsewhere        another rrwatch manages the same files
├── MissingRecord         etcd lacks a record that everything else needs
├── TemplateError         a template cannot be loaded or rendered: file, line, reason
├── LimitExceeded         a template takes too long
├── LintError             a rendered text that must not reach BIRD
├── InstallError          a configuration file cannot be read, written or replaced
├── BirdError
│   ├── BirdAbsent        nothing listens on the control socket: BIRD does not run, or not yet
│   ├── BirdBroken        the control socket failed: permission denied, connection lost, answer not understood
│   ├── BirdTimeout       no answer in time; the effect of the command is unknown
│   ├── BirdElsewhere     BIRD was started with another configuration file
│   └── BirdRefused       BIRD read the configuration and rejected it
├── HookFailed            a hook did not take an event
└── Stopping              rrwatch was asked to stop during a wait
"""

from pathlib import Path


class RrwatchError(Exception):
    """Base class of all errors that rrwatch raises on purpose; `str()` is one line for people."""


class UsageError(RrwatchError):
    """A setting or an argument that cannot be used; the message names it and says what is valid."""


class UnknownKeys(RrwatchError):
    """A file of keys without any key of Calico's, so that no sessions follow from it."""


class NoDaemon(RrwatchError):
    """No running rrwatch answers on the address of its status pages; the message names the address and the reason."""


class DatastoreError(RrwatchError):
    """Base class of all failures between rrwatch and etcd."""


class TransportError(DatastoreError):
    """No usable answer from this endpoint."""


class WrongApi(TransportError):
    """An etcd that does not serve the API that is set; the message says how to enable it, or which one to set."""


class Resync(DatastoreError):
    """The watch cannot continue without a gap; a new list is needed."""


class MissingRecord(RrwatchError):
    """A record that everything else needs is not in etcd, or cannot be parsed."""


class StateError(RrwatchError):
    """The state directory cannot be read or written."""


class BaselineUnreadable(StateError):
    """There is a baseline, or there may be one, and it cannot be read."""


class OwnedElsewhere(RrwatchError):
    """Another rrwatch manages the same files."""


class TemplateError(RrwatchError):
    """A template that cannot be loaded or rendered.

    Attributes:
        path: the template's file.
        line: 1-based line in the file; None if Jinja2 does not report one.
        reason: what is wrong, usually Jinja2's own message.
    """

    def __init__(self, path: Path, line: int | None, reason: str) -> None:
        self.path, self.line, self.reason = path, line, reason
        super().__init__(f"{path}:{line}: {reason}" if line else f"{path}: {reason}")


class LimitExceeded(RrwatchError):
    """Code that takes more time than it is allowed to."""


class LintError(RrwatchError):
    """A rendered configuration that could crash BIRD, or that lacks a session."""


class InstallError(RrwatchError):
    """A configuration file that cannot be read, written or replaced."""


class BirdError(RrwatchError):
    """Base class of all failures between rrwatch and BIRD."""


class BirdAbsent(BirdError):
    """Nothing listens on the control socket."""


class BirdBroken(BirdError):
    """The control socket cannot be used, or BIRD's answer is not understood."""


class BirdTimeout(BirdError):
    """BIRD did not answer in time."""


class BirdElsewhere(BirdError):
    """BIRD was started with another configuration file than the one that rrwatch manages.

    Attributes:
        fact: which file BIRD reads, and which one it should read.
        remedy: how to correct that.
    """

    def __init__(self, fact: str, remedy: str) -> None:
        self.fact, self.remedy = fact, remedy
        super().__init__(f"{fact}: {remedy}")


class BirdRefused(BirdError):
    """BIRD rejected a configuration; the message is BIRD's own `file:line:column message`."""


class HookFailed(RrwatchError):
    """A hook did not take an event; the message has no secret that the hook's settings may have."""


class Stopping(RrwatchError):
    """rrwatch was asked to stop during a wait."""
