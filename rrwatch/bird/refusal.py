"""Where in a configuration the fault is for which BIRD, or the check before it, refuses the text."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrwatch.bird.render import Rendered
from rrwatch.bird.syntax import SessionBlock, session_blocks


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why and where a configuration was refused.

    Attributes:
        reason: the message of BIRD or of the lint, in one line; it names the file in `kept`, if there is one.
        kept: the file that has the refused text; None if it could not be written.
        line: 1-based line of the text; None if the message names none.
        session: the session whose block has this line; None if no block has it.
        template: the file that this line was rendered from; None if that is unknown.
    """

    reason: str
    kept: Path | None = None
    line: int | None = None
    session: str | None = None
    template: Path | None = None

    def document(self) -> dict[str, Any]:
        """Returns where the fault is, as log events and the status have it."""
        return {
            "file": self.kept and str(self.kept),
            "line": self.line,
            "session": self.session,
            "template": self.template and str(self.template),
        }

    def __str__(self) -> str:
        session = f" in the block of session {self.session}" if self.session else ""
        template = f" (rendered from {self.template})" if self.template else ""
        return f"{self.reason}{session}{template}"


def locate(wanted: Rendered, message: str, read: Collection[Path], kept: Path | None) -> Refusal:
    """Finds out which part of a refused configuration a message is about.

    Args:
        wanted: the refused configuration.
        message: BIRD's, which names a file and a line, `/etc/bird/bird.cfg:12:5 syntax error`, or the lint's, which
            begins with `line 12: `. A file that the configuration includes is not looked into.
        read: the files that BIRD may have read the text from.
        kept: the file that has the text now.
    """
    files = "|".join(re.escape(str(path)) for path in read)
    found = re.search(rf"(?:^line |(?P<file>{files}):)(?P<line>[0-9]{{1,9}}):", message)
    if found is None:
        return Refusal(message, kept)
    if found["file"] and kept:
        message = message.replace(found["file"], str(kept))
    line = int(found["line"])
    if wanted.frame is None:  # the template writes the sessions by itself
        return Refusal(
            message, kept, line, _session_at(session_blocks(wanted.text), wanted.text, line), wanted.frame_template
        )
    session = _session_at(_rendered_blocks(wanted), wanted.text, line)
    return Refusal(message, kept, line, session, wanted.session_template if session else wanted.frame_template)


def _rendered_blocks(wanted: Rendered) -> Iterator[SessionBlock]:
    """Yields where the text has what was rendered for each session."""
    end = 0
    for name, block in wanted.blocks.items():
        start = wanted.text.find(block, end)
        end = start + len(block)
        # Each block begins with an empty line.
        yield SessionBlock(name, start + len(block) - len(block.lstrip("\n")), end)


def _session_at(blocks: Iterable[SessionBlock], text: str, line: int) -> str | None:
    """Returns the session whose block has a line."""
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    if line > len(starts):
        return None
    start = starts[line - 1]
    end = starts[line] if line < len(starts) else len(text)
    return next((block.name for block in blocks if block.start < end and start < block.end), None)
