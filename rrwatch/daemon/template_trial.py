"""Which templates to try now: the newest, or those that worked before."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rrwatch.bird import templates as template_folders
from rrwatch.bird.refusal import Refusal
from rrwatch.bird.render import Templates
from rrwatch.errors import TemplateError
from rrwatch.report.outcome import TemplateState

QUIET_TIME = 0.3
"""Seconds for which the operator's folder must not change before it is read: editors save in more than one step."""


class TemplateTrial:
    """The newest templates, and the last ones that BIRD accepted, which are used while the newest fail."""

    def __init__(
        self,
        folder: Path | None,
        asked_to_stop: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads nothing yet.

        Args:
            folder: the operator's, None where there is none.
            asked_to_stop: called while a template takes long; True ends it with Stopping.
        """
        self._folder, self._asked_to_stop, self._clock = folder, asked_to_stop, clock
        self._newest: Templates | None = None
        self._proven: Templates | None = None
        self._failed: Templates | None = None
        self._read: object = None
        self._seen: object = None
        self._quiet_at = 0.0
        self._unreadable = ""
        self._error = ""
        self._refused: Mapping[str, Refusal] = {}
        self._loaded: Path | None = None

    @property
    def due(self) -> float | None:
        """When to call `refresh` again, on the clock; None where the folder has not changed."""
        return self._quiet_at if self._seen != self._read else None

    @property
    def state(self) -> TemplateState:
        """How the templates stand."""
        kept = "the templates that worked before" if self._proven else "the last configuration"
        error = self._unreadable or self._error
        return TemplateState(error, kept if error else "", self._loaded, self._refused)

    def has_changed(self) -> bool:
        """Whether the operator's folder differs from what was read last."""
        return self._fingerprint() != self._read

    def reread(self) -> None:
        """Makes the next `refresh` read the folder, changed or not."""
        self._read = None

    def refresh(self) -> bool:
        """Reads the templates, if their files have changed and are at rest.

        Returns:
            Whether there are new ones to try.
        """
        self._loaded = None
        files = self._fingerprint()
        if files == self._read:
            return False
        now = self._clock()
        if files != self._seen:
            self._seen, self._quiet_at = files, now + QUIET_TIME
        if self._read is not None and now < self._quiet_at:
            return False
        first, self._read = self._newest is None, files
        try:
            self._newest = template_folders.load(self._folder, self._asked_to_stop)
        except TemplateError as error:
            self._unreadable = str(error)
            return False
        self._unreadable = ""
        self._loaded = None if first else self._folder
        return True

    def candidates(self, *, retry: bool) -> Iterator[Templates]:
        """Yields the templates to try, until one is accepted.

        Args:
            retry: something has changed, so that templates that failed may work now.
        """
        if retry:
            self._failed = None
        for templates in dict.fromkeys((self._newest, self._proven)):
            if templates and templates is not self._failed:
                yield templates

    def has_fallback(self, templates: Templates) -> bool:
        """Whether other templates can be used in place of these."""
        return self._proven is not None and templates is not self._proven

    def accept(self, templates: Templates, *, proven: bool) -> None:
        """These templates are in use.

        Args:
            proven: BIRD runs what they give.
        """
        if templates is self._newest:
            self._error, self._refused = "", {}
        if proven:
            self._proven = templates

    def reject(self, templates: Templates, reason: str, refused: Mapping[str, Refusal] | None = None) -> None:
        """These templates cannot be used.

        Args:
            refused: what a BIRD refused, by the BIRD's name.
        """
        self._error, self._refused = reason, refused or {}
        if self._proven:
            self._failed = templates

    def _fingerprint(self) -> object:
        return template_folders.fingerprint(self._folder)
