"""The template directories, and the limits of what a template may do."""

import contextlib
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrwatch.bird import templates
from rrwatch.bird.limits import Limits
from rrwatch.bird.render import Source, Templates
from rrwatch.errors import LimitExceeded, Stopping, TemplateError
from tests.bird.test_render import OWN, Write, config, write

__all__ = ["write"]


def load_with(seconds: float, write: Write, text: str, asked_to_stop: Callable[[], bool] = lambda: False) -> Templates:
    path = write(session=text) / "session.cfg.j2"
    sources = {"reflector.cfg.j2": Source(FRAME, "{{ session_blocks }}"), "session.cfg.j2": Source(path, text)}
    return Templates(sources, Limits(seconds, MEMORY, asked_to_stop))


FRAME = Path("reflector.cfg.j2")
MEMORY = 1 << 28
LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


def work_until(stop: threading.Event) -> None:
    while not stop.is_set():
        pass


class TestEndless:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (LOOP, r"takes more than 0\.3 s of CPU time"),
            ("{{ (10 ** (10 ** 10)) % 7 }}", r"takes more than 0\.3 s of CPU time"),
            ("{{ lipsum(n=10**9) }}", r"takes more than 0\.3 s of CPU time"),
            ("{% for i in range(10**9) %}x{% endfor %}", "a range of more than 100000 steps"),
            ("{{ range(10**12) | sum }}", "a range of more than 100000 steps"),
            ("{{ 'a' * 10**10 }}", "needs too much memory"),
            ("{{ 'a' | center(10**10) }}", "needs too much memory"),
            ("{{ '%10000000000d' % 1 }}", "needs too much memory"),
            (
                "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
                "needs too much memory",
            ),
            ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
            ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "RecursionError"),
            ("{% if 1 %}" * 200 + "{% endif %}" * 200, "IndentationError"),
            ("{{ '\\ud800' }}", "UnicodeEncodeError"),
        ],
    )
    def test_ends_with_an_error_of_the_template(self, write: Write, text: str, reason: str) -> None:
        began = time.monotonic()
        with pytest.raises(TemplateError, match=reason) as caught:
            load_with(0.3, write, f"\n{text}\n").render(config())
        assert time.monotonic() - began < 10
        assert caught.value.path.name in ("session.cfg.j2", "reflector.cfg.j2")

    def test_names_the_line(self, write: Write) -> None:
        with pytest.raises(TemplateError) as caught:
            load_with(0.3, write, f"\n\n{LOOP}\n").render(config())
        assert (caught.value.path.name, caught.value.line) == ("session.cfg.j2", 3)

    def test_it_is_not_rendered_again_for_a_minute(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        bad, reasons = load_with(0.3, write, f"\n{LOOP}"), set()
        began = time.thread_time()
        for _ in range(20):
            with pytest.raises(TemplateError) as caught:
                bad.render(config())
            reasons.add(str(caught.value))
        assert time.thread_time() - began < 1
        assert len(reasons) == 1
        now = time.monotonic()
        monkeypatch.setattr("rrwatch.bird.limits.time.monotonic", lambda: now + 61)
        began = time.thread_time()
        with pytest.raises(TemplateError):
            bad.render(config())
        assert time.thread_time() - began > 0.3

    def test_another_error_does_not_make_it_rest(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rrwatch.bird.limits._LONG", 0.0)
        loaded = load_with(5, write, "{% if session.cluster_id %}{{ nonsense }}{% endif %}{{ session.name }}\n")
        with pytest.raises(TemplateError, match="nonsense"):
            loaded.render(replace(config(), sessions=(replace(config().sessions[0], cluster_id=OWN),)))
        assert loaded.render(replace(config(), sessions=(replace(config().sessions[0], cluster_id=None),)))

    def test_a_stop_ends_it(self, write: Write) -> None:
        stop = threading.Event()
        before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        began = time.monotonic()
        try:
            with pytest.raises(Stopping):
                load_with(30, write, LOOP, stop.is_set).render(config())
        finally:
            signal.signal(signal.SIGTERM, before)
        assert time.monotonic() - began < 10

    def test_too_much_text(self, write: Write) -> None:
        with pytest.raises(TemplateError, match=r"reflector\.cfg\.j2: gives [0-9]+ characters, more than 33554432"):
            load_with(5, write, "{{ 'a' * 2**24 }}").render(config())

    def test_the_next_rendering_is_not_affected(self, write: Write) -> None:
        before = resource.getrlimit(resource.RLIMIT_AS)
        bad = load_with(0.3, write, LOOP)
        for _ in range(2):
            with pytest.raises(TemplateError):
                bad.render(config())
        assert resource.getrlimit(resource.RLIMIT_AS) == before
        assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
        signal.raise_signal(signal.SIGVTALRM)  # one that comes late
        assert templates.load(None).render(config()) == templates.load(None).render(config())

    def test_in_another_thread_only_memory_is_limited(self) -> None:
        failed: list[BaseException] = []

        def work() -> None:
            try:
                with Limits(0.1, MEMORY, lambda: True)():
                    str("a" * (1 << 30))
            except MemoryError as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(10)
        assert [type(error) for error in failed] == [MemoryError]

    def test_time_is_the_threads_own(self) -> None:
        stop = threading.Event()
        busy = threading.Thread(target=work_until, args=(stop,))
        busy.start()
        try:
            with Limits(0.5, MEMORY)():
                stop.wait(1.0)
        finally:
            stop.set()
            busy.join(5)
        with pytest.raises(LimitExceeded), Limits(0.2, MEMORY)():
            work_until(threading.Event())


PIECES = st.sampled_from(
    [
        "{{ session.name }}",
        "{{ session.",
        "}}",
        "{% if",
        " %}",
        "{% endif %}",
        "{% for s in ",
        "sessions",
        "{% endfor %}",
        "{% macro m(a) %}",
        "{% endmacro %}",
        "{{ m(m) }}",
        "{% include 'session.cfg.j2' %}",
        "{% import 'x' as x %}",
        "{% set x = ",
        "x",
        "**",
        "10",
        "(",
        ")",
        "[0]",
        "{#",
        "#}",
        "{% raw %}",
        "\ud800",
        "\x00",
        "é",
        "~ x",
        "{% block b %}",
        "{% extends 'session.cfg.j2' %}",
        ".__class__",
        "{% filter upper %}",
    ]
)


@given(st.lists(PIECES | st.text(max_size=5), max_size=12).map("".join))
@settings(max_examples=300)
def test_any_template_gives_a_text_or_a_template_error(text: str) -> None:
    session = Source(Path("session.cfg.j2"), text)
    sources = {"reflector.cfg.j2": Source(FRAME, "{{ session_blocks }}"), "session.cfg.j2": session}
    with contextlib.suppress(TemplateError):
        Templates(sources, Limits(2, MEMORY)).render(config())


class TestFiles:
    """What may be in the operator's directory."""

    def test_a_fifo(self, write: Write) -> None:
        folder = write()
        os.mkfifo(folder / "x.cfg.j2")
        failed: list[TemplateError] = []

        def load() -> None:
            try:
                templates.load(folder)
            except TemplateError as error:
                failed.append(error)

        thread = threading.Thread(target=load, daemon=True)
        thread.start()
        thread.join(5)
        assert [str(error) for error in failed] == [f"{folder}/x.cfg.j2: cannot be read: not a regular file"]

    @pytest.mark.parametrize(("target", "reason"), [("/dev/zero", "not a regular file"), ("/", "Is a directory")])
    def test_a_link_to_what_is_no_file(self, write: Write, target: str, reason: str) -> None:
        folder = write()
        (folder / "x.cfg.j2").symlink_to(target)
        with pytest.raises(TemplateError, match=f"{folder}/x.cfg.j2: cannot be read: {reason}"):
            templates.load(folder)

    def test_a_link_to_a_file(self, write: Write, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "session.cfg.j2").symlink_to(write(mine="# linked\n") / "mine.cfg.j2")
        assert "# linked" in templates.load(folder).render(config()).text

    def test_too_large(self, write: Write) -> None:
        folder = write(a="x" * (1 << 19), b="y" * (1 << 19), c="z")
        with pytest.raises(TemplateError, match=f"{folder}: has templates of more than 1048576 bytes"):
            templates.load(folder)

    def test_a_dangling_link_is_named_and_hides_no_edit(self, write: Write) -> None:
        folder = write(session="one")
        link = folder / "x.cfg.j2"
        link.symlink_to("nowhere")
        with pytest.raises(TemplateError, match=f"{link}: cannot be read: No such file or directory"):
            templates.load(folder)
        before = templates.fingerprint(folder)
        assert templates.fingerprint(write(session="another")) != before
        (folder / "nowhere").write_text("now there")
        after = templates.fingerprint(folder)
        assert after != before
        templates.load(folder)

    def test_editors_files_do_not_count(self, write: Write) -> None:
        folder = write(session="one")
        before = templates.fingerprint(folder)
        (folder / ".#session.cfg.j2").symlink_to("user@host.123")
        (folder / "session.cfg.j2~").write_text("{% broken")
        assert templates.fingerprint(folder) == before
        templates.load(folder)
