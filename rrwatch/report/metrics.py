"""The status in the text format of Prometheus."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

import rrwatch
from rrwatch.bird.apply import State
from rrwatch.report import log
from rrwatch.report.history import Counters
from rrwatch.report.sessions import ObservedBird, states
from rrwatch.report.status import Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_process = CollectorRegistry()
ProcessCollector(registry=_process)


def exposition(status: Status) -> str:
    """Returns all metrics of a status, with the memory, CPU time and descriptors of the process."""
    registry = CollectorRegistry()
    registry.register(_View(status))
    return (generate_latest(registry) + generate_latest(_process)).decode()


class _View(Collector):
    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        yield from _of_rrwatch(self._status)
        yield from _of_etcd(self._status)
        yield from _of_birds(self._status)
        yield from _of_sessions(self._status)
        yield _of_hooks(self._status)


def _of_rrwatch(status: Status) -> Iterator[Metric]:
    info = GaugeMetricFamily("rrwatch_build_info", "Which rrwatch this is; always 1.", labels=["version"])
    info.add_metric([rrwatch.__version__], 1)
    yield info
    role = GaugeMetricFamily("rrwatch_role_info", "Whether this is a reflector or a node; always 1.", labels=["role"])
    role.add_metric([status.role.partition(" ")[0]], 1)
    yield role
    yield GaugeMetricFamily(
        "rrwatch_ready", "1 if BIRD runs what etcd last asked for, else 0.", value=not status.unready()
    )
    yield GaugeMetricFamily(
        "rrwatch_not_ready_since_timestamp_seconds",
        "Unix time since when rrwatch is not ready, 0 if it is.",
        value=status.not_ready_since or 0,
    )
    held = status.hold and status.hold.loss
    yield GaugeMetricFamily("rrwatch_held", "1 if the guard holds sessions, else 0.", value=held is not None)
    nodes, sessions = (len(held.nodes), len(held.sessions)) if held else (0, 0)
    yield GaugeMetricFamily("rrwatch_held_nodes", "Nodes that disappeared and are held.", value=nodes)
    yield GaugeMetricFamily(
        "rrwatch_held_sessions", "Sessions that would end if the change went ahead.", value=sessions
    )
    yield GaugeMetricFamily(
        "rrwatch_frozen",
        "1 if BIRD keeps what it runs, whatever etcd asks for, else 0.",
        value=status.frozen is not None,
    )
    derived = status.outcome.derived if status.outcome else None
    yield GaugeMetricFamily(
        "rrwatch_rejected_records", "Records that are left out.", value=len(derived.rejected) if derived else 0
    )
    yield GaugeMetricFamily(
        "rrwatch_record_warnings", "Records with a warning.", value=len(derived.warnings) if derived else 0
    )
    yield GaugeMetricFamily(
        "rrwatch_template_error",
        "1 if the newest templates cannot be used, else 0.",
        value=bool(status.template_error),
    )
    yield CounterMetricFamily(
        "rrwatch_log_lines_dropped", "Log lines that could not be written.", value=log.lines_dropped()
    )


def _of_etcd(status: Status) -> Iterator[Metric]:
    etcd = status.etcd
    yield GaugeMetricFamily("rrwatch_etcd_up", "1 if etcd answered the last request, else 0.",
                            value=etcd.index is not None and not etcd.trouble)  # fmt: skip
    if etcd.heard_at is not None:
        yield GaugeMetricFamily(
            "rrwatch_etcd_last_answer_timestamp_seconds",
            "Unix time of etcd's last answer.",
            value=time.time() - (time.monotonic() - etcd.heard_at),
        )
        yield GaugeMetricFamily("rrwatch_etcd_index", "etcd's index in that answer.", value=etcd.index or 0)
    yield GaugeMetricFamily("rrwatch_etcd_keys", "Keys that rrwatch holds.", value=etcd.keys)
    yield CounterMetricFamily("rrwatch_etcd_events", "Single changes that were received.", value=etcd.events)
    yield CounterMetricFamily("rrwatch_etcd_lists", "Whole folders that were received.", value=etcd.lists)
    yield CounterMetricFamily("rrwatch_etcd_failures", "Requests that were not answered.", value=etcd.failures)


def _of_birds(status: Status) -> Iterator[Metric]:
    sessions = GaugeMetricFamily("rrwatch_sessions", "Sessions in BIRD's configuration.", labels=["daemon"])
    confirmed = GaugeMetricFamily(
        "rrwatch_bird_confirmed", "1 if BIRD confirmed the wanted configuration, else 0.", labels=["daemon"]
    )
    generations = GaugeMetricFamily(
        "rrwatch_generation",
        "The generation that is wanted, installed, and confirmed by BIRD.",
        labels=["daemon", "of"],
    )
    for target, result in status.outcome.results.items() if status.outcome else ():
        applied, wanted = result.applied, result.wanted
        sessions.add_metric([target.name], len(wanted.blocks))
        confirmed.add_metric([target.name], applied.state is State.CONFIRMED)
        numbers = {"wanted": wanted.generation, "installed": applied.on_disk, "confirmed": applied.running}
        for of, number in numbers.items():
            generations.add_metric([target.name, of], number or 0)
    yield from (sessions, confirmed, generations)
    changes = SummaryMetricFamily(
        "rrwatch_change_seconds",
        "Duration of changes, from the start of the pass to BIRD's confirmation.",
        labels=["daemon"],
    )
    counters = {
        name: CounterMetricFamily(f"rrwatch_{name}", text, labels=["daemon"])
        for name, text in (
            ("drifts", "Changes by someone else that were corrected."),
            ("refusals", "Configurations that BIRD refused."),
            ("failures", "Attempts to configure BIRD that failed otherwise."),
        )
    }
    for daemon, tally in status.counters.items():
        changes.add_metric([daemon], tally.changes, tally.seconds)
        for name, counter in counters.items():
            counter.add_metric([daemon], _count(tally, name))
    yield from (changes, *counters.values())


def _of_sessions(status: Status) -> Iterator[Metric]:
    by_state = GaugeMetricFamily("rrwatch_bgp_sessions", "Sessions that BIRD has.", labels=["daemon", "state"])
    losses = CounterMetricFamily(
        "rrwatch_bgp_session_losses", "Sessions that were Established and then were not.", labels=["daemon"]
    )
    took = GaugeMetricFamily("rrwatch_bird_poll_seconds", "Duration of BIRD's last answer about its sessions.",
                             labels=["daemon"])  # fmt: skip
    polled_at = GaugeMetricFamily("rrwatch_bird_poll_timestamp_seconds", "Unix time of that answer.", labels=["daemon"])
    for target in status.outcome.results if status.outcome else ():
        daemon, bird = target.name, status.observed.get(target.name) or ObservedBird()
        for state, number in states(bird).items():
            by_state.add_metric([daemon, state], number)
        losses.add_metric([daemon], bird.losses - bird.losses_before)
        if bird.polled_at is not None and bird.poll_seconds is not None:
            took.add_metric([daemon], bird.poll_seconds)
            polled_at.add_metric([daemon], bird.epoch + bird.polled_at)
    yield from (by_state, losses, took, polled_at)
    if status.session_metrics:
        up = GaugeMetricFamily(
            "rrwatch_bgp_session_up", "1 if the session is Established, else 0.", labels=["daemon", "session", "node"]
        )
        for row in status.session_rows():
            up.add_metric([row.daemon, row.name, row.node or ""], row.up)
        yield up


def _of_hooks(status: Status) -> Metric:
    events = CounterMetricFamily(
        "rrwatch_hook_events", "Events that hooks took, did not take, or were not told of.", labels=["sink", "result"]
    )
    for labels, number in status.hooks.items():
        events.add_metric(labels, number)
    return events


def _count(tally: Counters, name: str) -> int:
    number: int = getattr(tally, name)
    return number
