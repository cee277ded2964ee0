"""Everything that rrwatch raises on purpose.

RrwatchError
├── UsageError            what the user asked for cannot be: a setting, a file of keys
├── UnknownKeys           a file of keys of which none is one of Calico's
├── DatastoreError
│   ├── TransportError    no usable answer; another endpoint may have one
│   │   └── WrongApi      an etcd that does not serve the v2 API
│   └── Resync            the answer breaks continuity: list again
├── StateError            what must outlive a restart cannot be kept
├── OwnedElsewhere        another rrwatch looks after the same files
├── MissingRecord         a record that everything else needs is not in etcd
├── TemplateError         a template cannot be loaded or rendered: file, line, reason
├── LintError             a rendered text that BIRD must not see
├── InstallError          a configuration file cannot be read, written or replaced
├── BirdError
│   ├── BirdAbsent        nobody listens on the control socket: not running, or not yet
│   ├── BirdBroken        the conversation failed: denied, cut off, not understood
│   ├── BirdTimeout       no answer in time; what the command did is unknown
│   ├── BirdElsewhere     BIRD was started with another configuration file
│   └── BirdRefused       BIRD read the configuration and said no
└── Stopping              rrwatch was asked to end while it waited for something
"""

from pathlib import Path


class RrwatchError(Exception):
    """Base of all errors that rrwatch raises on purpose; `str()` is one line for people."""


class UsageError(RrwatchError):
    """A setting or an argument that cannot be used; the text names it and says what would be right."""


class UnknownKeys(RrwatchError):
    """A file of keys of which none is one of Calico's, so that nothing follows from it."""


class DatastoreError(RrwatchError):
    """Anything that went wrong between rrwatch and etcd."""


class TransportError(DatastoreError):
    """No usable answer from this endpoint."""


class WrongApi(TransportError):
    """An etcd that does not serve the v2 API; the text says how to change that."""


class Resync(DatastoreError):
    """The watch cannot go on without a gap; a new list can."""


class MissingRecord(RrwatchError):
    """A record that everything else needs is not in etcd, or cannot be read."""


class StateError(RrwatchError):
    """What must outlive a restart cannot be kept."""


class OwnedElsewhere(RrwatchError):
    """Another rrwatch looks after the same files."""


class TemplateError(RrwatchError):
    """A template that cannot be loaded or rendered.

    Attributes:
        path: the template's file.
        line: 1-based line in it, or None where Jinja2 does not tell.
        reason: what is wrong, in Jinja2's words.
    """

    def __init__(self, path: Path, line: int | None, reason: str) -> None:
        self.path, self.line, self.reason = path, line, reason
        super().__init__(f"{path}:{line}: {reason}" if line else f"{path}: {reason}")


class LintError(RrwatchError):
    """A rendered configuration that could harm BIRD, or that it would surely refuse."""


class InstallError(RrwatchError):
    """A configuration file that cannot be read, written or replaced."""


class BirdError(RrwatchError):
    """Anything that went wrong between rrwatch and BIRD."""


class BirdAbsent(BirdError):
    """Nobody listens on the control socket."""


class BirdBroken(BirdError):
    """The control socket cannot be used, or BIRD's answer makes no sense."""


class BirdTimeout(BirdError):
    """BIRD did not answer in time."""


class BirdElsewhere(BirdError):
    """BIRD was started with another configuration file than the one that rrwatch owns."""


class BirdRefused(BirdError):
    """BIRD refused a configuration; the text is BIRD's own `file:line:column message`."""


class Stopping(RrwatchError):
    """rrwatch was asked to end while it waited."""
