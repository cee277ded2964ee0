"""Log lines: how they look, and what happens if nobody reads them."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.bird import BIRD1, Bird, Release
from lab.environment import beside, reflector
from lab.etcd import Etcd
from lab.process import Process, free_port, wait_until
from rrwatch.report.log import LineWriter
from rrwatch.report.text import visible, visible_lines
from tests.keys import CLUSTER, PREFIX, REFLECTOR, SESSIONS
from tests.waits import wait_for_sessions


@pytest.fixture
def release() -> Release:
    """The log does not depend on BIRD."""
    return BIRD1


class Pipe:
    """A pipe that is not read until `drain()`."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._read_so_far = b""

    def fill(self) -> None:
        """Fills it, so that the next write blocks."""
        os.set_blocking(self.writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.writer, b"x" * 1023 + b"\n")
        os.set_blocking(self.writer, True)

    def drain(self) -> None:
        """Reads it from now on."""
        self._thread.start()

    def lines(self) -> list[str]:
        """The lines so far, without those that only fill it."""
        return [line for line in self._read_so_far.decode().splitlines() if not line.startswith("xxx")]

    def _read(self) -> None:
        while more := os.read(self.reader, 65536):
            self._read_so_far += more

    def close(self) -> None:
        os.close(self.writer)
        if self._thread.ident:
            self._thread.join(timeout=5)
        os.close(self.reader)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


class TestLineWriter:
    def test_a_burst_loses_nothing_if_somebody_reads(self, pipe: Pipe) -> None:
        pipe.drain()
        writer = LineWriter(pipe.writer, capacity=20_000)
        wanted = [f"line {number} " + "y" * 100 for number in range(20_000)]
        for line in wanted:
            writer.put(line)
        writer.flush(10)
        wait_until(lambda: len(pipe.lines()) >= len(wanted), "all lines", 10)
        assert pipe.lines() == wanted
        assert writer.dropped == 0

    def test_if_nobody_reads_it_drops_lines_and_counts_them(self, pipe: Pipe) -> None:
        writer = LineWriter(pipe.writer, capacity=10_000)
        began = time.monotonic()
        for number in range(20_000):
            writer.put(f"line {number} " + "y" * 100)
        assert time.monotonic() - began < 3.0
        assert writer.dropped > 15_000
        before = writer.dropped

        pipe.drain()
        writer.flush(5)
        writer.put("after")
        writer.flush(5)
        wait_until(lambda: "after" in pipe.lines(), "a line", 5)
        assert writer.dropped == before
        kept = [int(line.split()[1]) for line in pipe.lines() if line.startswith("line ")]
        assert kept == sorted(kept)
        assert len(kept) == 20_000 - before

        for number in range(20_000):
            writer.put(f"again {number} " + "y" * 100)
        writer.flush(10)
        assert writer.dropped == before

    def test_flush_takes_a_limited_time(self, pipe: Pipe) -> None:
        pipe.fill()
        writer = LineWriter(pipe.writer)
        writer.put("a")
        began = time.monotonic()
        writer.flush(0.2)
        assert 0.1 < time.monotonic() - began < 1.0

    def test_a_line_that_is_longer_than_the_queue_is_written(self, pipe: Pipe) -> None:
        pipe.drain()
        writer = LineWriter(pipe.writer, capacity=10)
        writer.put("z" * 200_000)
        writer.flush(5)
        wait_until(lambda: pipe.lines() == ["z" * 200_000], "the line", 5)

    def test_a_pipe_that_does_not_block_loses_nothing(self, pipe: Pipe) -> None:
        os.set_blocking(pipe.writer, False)
        writer = LineWriter(pipe.writer)
        for number in range(5000):
            writer.put(f"{number} " + "y" * 100)
        pipe.drain()
        writer.flush(10)
        wait_until(lambda: len(pipe.lines()) == 5000, "all lines", 5)
        assert writer.dropped == 0

    def test_a_pipe_without_a_reader_drops_lines(self) -> None:
        reader, descriptor = os.pipe()
        os.close(reader)
        writer = LineWriter(descriptor)
        for _ in range(3):
            writer.put("a")
            writer.flush(5)
        assert writer.dropped == 3
        os.close(descriptor)


class TestProgram:
    """`rrwatch` with a standard error that is stuck or closed."""

    def test_run_does_not_wait_for_a_reader(self, etcd: Etcd, bird: Bird, tmp_path: Path, pipe: Pipe) -> None:
        pipe.fill()
        etcd.put_all(CLUSTER)
        listen = f"127.0.0.1:{free_port()}"
        settings = beside(bird, etcd.url, RRWATCH_STATUS_LISTEN=listen, **reflector(REFLECTOR))
        command = [sys.executable, "-m", "rrwatch", "run"]
        process = Process(command, tmp_path / "out", environment=settings, stderr=pipe.writer)
        try:
            wait_for_sessions(bird, SESSIONS, 30)
            with urllib.request.urlopen(f"http://{listen}/healthz", timeout=5) as page:
                assert page.read() == b"alive\n"
            for number in range(60):
                etcd.put(f"{PREFIX}/host/n{number}/ip_addr_v4", f"bad{number}" + "\x1b" * 20_000)
            etcd.put(f"{PREFIX}/host/new/ip_addr_v4", "172.17.42.99")
            wait_for_sessions(bird, SESSIONS | {"Global_172_17_42_99"}, 30)
            assert process.stop(seconds=8) == 0
        finally:
            process.kill()

    def test_once_does_not_wait_for_a_reader_of_its_last_words(self, tmp_path: Path, bird: Bird, pipe: Pipe) -> None:
        pipe.fill()
        settings = beside(bird, f"http://127.0.0.1:{free_port()}", **reflector(REFLECTOR))
        command = [sys.executable, "-m", "rrwatch", "once", "--timeout", "0.1"]
        process = Process(command, tmp_path / "out", environment=settings, stderr=pipe.writer)
        try:
            assert process.wait(10) == 1
        finally:
            process.kill()

    @pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
    def test_run_with_closed_streams(self, etcd: Etcd, bird: Bird, tmp_path: Path, closed: str) -> None:
        etcd.put_all(CLUSTER)
        settings = beside(bird, etcd.url, RRWATCH_STATUS_LISTEN="", **reflector(REFLECTOR))
        command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "rrwatch", "run"]
        process = Process(command, tmp_path / "out", environment=settings)
        try:
            wait_for_sessions(bird, SESSIONS, 30)
            assert process.stop() == 0
        finally:
            process.kill()
        assert bird.config.read_text().startswith("#")

    def test_once_loses_no_line(self, etcd: Etcd, bird: Bird) -> None:
        bad = {f"{PREFIX}/global/peer_v4/{number}": "x" for number in range(3000)}
        etcd.put_all(CLUSTER)
        etcd.put_all(bad)
        done = subprocess.run(
            [sys.executable, "-m", "rrwatch", "once"],
            env=beside(bird, etcd.url, **reflector(REFLECTOR), RRWATCH_LOG_LEVEL="debug"),
            stderr=subprocess.PIPE,
            timeout=60,
            check=True,
        )
        events = [json.loads(line) for line in done.stderr.splitlines()]
        assert {event["key"] for event in events if event["event"] == "record_rejected"} == set(bad)
        assert events[-1]["event"] == "configured"


MANY = """
import sys
import structlog
from rrwatch.report import log
from rrwatch.settings.values import LogFormat, LogLevel

log.configure(LogFormat.JSON, LogLevel.INFO, sys.stderr)
logger = structlog.get_logger("rrwatch")
for number in range(20_000):
    logger.info("line", number=number, text="y" * 300)
print(log.lines_dropped(), flush=True)
sys.stdin.readline()
logger.info("last")
"""


def test_dropped_lines_are_reported_when_writing_works_again(pipe: Pipe) -> None:
    pipe.fill()
    command = [sys.executable, "-c", MANY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=pipe.writer) as process:
        assert process.stdin
        assert process.stdout
        dropped = int(process.stdout.readline())
        pipe.drain()
        wait_until(lambda: '"log_lines_dropped"' in "".join(pipe.lines()), "the report", 10)
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.wait(10) == 0
    wait_until(lambda: '"last"' in "".join(pipe.lines()), "the last line", 5)
    events = [json.loads(line) for line in pipe.lines()]
    (report,) = [event for event in events if event["event"] == "log_lines_dropped"]
    assert (report["level"], report["count"]) == ("warning", dropped)
    assert dropped > 1000
    assert len([event for event in events if event["event"] == "line"]) == 20_000 - dropped


ENDING = """
import sys
import structlog
from rrwatch.report import log
from rrwatch.settings.values import LogFormat, LogLevel

log.configure(LogFormat.JSON, LogLevel.INFO, sys.stderr)
for number in range(3000):
    structlog.get_logger("rrwatch").info("line", number=number, text="y" * 300)
print("done", flush=True)
"""


def test_the_end_of_the_process_waits_for_the_last_lines(pipe: Pipe) -> None:
    with subprocess.Popen([sys.executable, "-c", ENDING], stdout=subprocess.PIPE, stderr=pipe.writer) as process:
        assert process.stdout
        assert process.stdout.readline() == b"done\n"
        pipe.drain()
        assert process.wait(10) == 0
    wait_until(lambda: len(pipe.lines()) == 3000, "all lines", 5)


CODE = """
import sys
import structlog
from rrwatch.report import log
from rrwatch.settings.values import LogFormat, LogLevel

log.configure(LogFormat(sys.argv[1]), LogLevel.INFO, sys.stderr)
structlog.get_logger("rrwatch").info("event", text="a\\x1b[2Jb\\u202e", more=["\\x1b"])
try:
    raise ValueError("\\x1b[31m")
except ValueError:
    structlog.get_logger("rrwatch").error("failed", exc_info=True)
"""


class TestControlCharacters:
    def test_are_escaped_for_people(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", CODE, "console"], stderr=subprocess.PIPE, text=True, timeout=30, check=True
        )
        assert "\x1b" not in done.stderr
        assert "text=a\\x1b[2Jb\\u202e" in done.stderr.replace("'", "").replace("\\\\", "\\")
        assert "ValueError: \\x1b[31m" in done.stderr
        assert "Traceback (most recent call last):\n" in done.stderr

    def test_are_exact_in_json(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", CODE, "json"], stderr=subprocess.PIPE, text=True, timeout=30, check=True
        )
        first = json.loads(done.stderr.splitlines()[0])
        assert (first["text"], first["more"]) == ("a\x1b[2Jb\u202e", ["\x1b"])

    def test_text(self) -> None:
        assert visible("a\x1b\nb\u202eé") == "a\\x1b\\nb\\u202eé"
        assert visible_lines("a\x1b\nb") == "a\\x1b\nb"
