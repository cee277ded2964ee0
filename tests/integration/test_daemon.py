"""`rrwatch run` between a real etcd and a real BIRD."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.bird import BIRD1, BIRD2, MINIMAL, RELEASES, Bird, Release
from lab.daemon import Rrwatch
from lab.etcd import Etcd
from lab.network import Namespace, join, namespace
from lab.process import free_port, wait_until
from tests.keys import CLUSTER, PREFIX, REFLECTOR, SESSIONS, global_peer, host, node_peer, reflector
from tests.waits import names, status_of, wait_for_sessions

Start = Callable[..., Rrwatch]


class TestFollowing:
    def test_first_sync(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)

        configured = start_rrwatch(etcd.url, bird).wait_for("configured")

        assert set(configured["sessions_added"]) == SESSIONS == bird.sessions()
        assert set(configured["cause"]) == set(CLUSTER)
        assert configured["generation"] == bird.generation()
        assert configured["took_ms"] > 0

    def test_an_etcd_without_any_key(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        rrwatch = start_rrwatch(etcd.url, bird)
        assert rrwatch.wait_for("configured")["sessions"] == 0
        assert "router id 172.17.42.40;" in bird.config.read_text()

    def test_a_node_comes_changes_and_goes(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd.url, bird)
        wait_for_sessions(bird, SESSIONS)

        etcd.put_all(host("new", "172.17.42.50"))
        wait_for_sessions(bird, SESSIONS | names("172.17.42.50"))
        etcd.put_all(host("new", "172.17.42.51"))
        wait_for_sessions(bird, SESSIONS | names("172.17.42.51"))
        etcd.delete(f"{PREFIX}/host/new", recursive=True)
        wait_for_sessions(bird, SESSIONS)

        added = rrwatch.wait_for("configured", sessions_added=["Global_172_17_42_50"])
        assert added["cause"] == [f"{PREFIX}/host/new/ip_addr_v4"] or set(added["cause"]) == set(host("new", ""))
        rrwatch.wait_for("configured", sessions_added=[], sessions_removed=["Global_172_17_42_51"])
        assert not rrwatch.all("drift_found")

    def test_a_peer_comes_changes_and_goes(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        etcd.delete(f"{PREFIX}/global/peer_v4/{REFLECTOR}")
        rrwatch = start_rrwatch(etcd.url, bird)
        rrwatch.wait_for("configured", sessions=0)

        etcd.put_all(node_peer("kube-node1", REFLECTOR))
        wait_for_sessions(bird, {"Node_172_17_42_31"})
        etcd.put_all(global_peer(REFLECTOR))
        wait_for_sessions(bird, SESSIONS)
        etcd.put_all(global_peer(REFLECTOR, '"65200"'))
        rrwatch.wait_for("configured", sessions_changed=sorted(SESSIONS))
        wait_until(lambda: "local as 65200" in bird.config.read_text(), "the other AS")
        etcd.delete(f"{PREFIX}/global/peer_v4/{REFLECTOR}")
        wait_for_sessions(bird, {"Node_172_17_42_31"})

    def test_a_reflector_record_comes_changes_and_goes(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        start_rrwatch(etcd.url, bird)
        wait_for_sessions(bird, SESSIONS)

        etcd.put_all(reflector("172.17.42.41"))
        wait_for_sessions(bird, SESSIONS | {"Mesh_172_17_42_41"})
        etcd.put_all(reflector(REFLECTOR, "9.9.9.9"))
        wait_until(lambda: "rr cluster id 9.9.9.9;" in bird.config.read_text(), "the other cluster id")
        etcd.delete(f"{PREFIX}/rr_v4", recursive=True)
        wait_for_sessions(bird, SESSIONS)
        wait_until(lambda: "cluster id" not in bird.config.read_text(), "the file, which follows BIRD")

    def test_both_families(self, etcd: Etcd, bird: Bird, bird6: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER | global_peer("fd00::28") | {f"{PREFIX}/host/kube-node1/ip_addr_v6": "FD00:0::31"})
        start_rrwatch(etcd.url, bird, IP6="fd00::28")
        both = [SESSIONS, {"Global_fd00__31"}]
        wait_for_sessions(bird, both[0] if bird6 is not bird else both[0] | both[1])
        wait_for_sessions(bird6, both[1] if bird6 is not bird else both[0] | both[1])

    def test_fifty_writes_end_exact_with_few_configures(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        start_rrwatch(etcd.url, bird, RRWATCH_MIN_INTERVAL="0.5")
        wait_for_sessions(bird, SESSIONS)
        before = bird.reconfigurations()

        addresses = [f"172.17.43.{number}" for number in range(1, 51)]
        for address in addresses:
            etcd.put(f"{PREFIX}/host/burst-{address}/ip_addr_v4", address)

        wait_for_sessions(bird, SESSIONS | names(*addresses))
        assert bird.reconfigurations() - before <= 5

    def test_no_change_in_what_is_asked_for_no_configure(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd.url, bird)
        wait_for_sessions(bird, SESSIONS)
        before = bird.reconfigurations()

        etcd.put(f"{PREFIX}/global/as_num", "65100")
        etcd.put(f"{PREFIX}/host/kube-node1/network_v4", "172.17.0.0/16")
        etcd.put(f"{PREFIX}/something/else", "entirely")
        etcd.put_all(host("marker", "172.17.42.99"))

        rrwatch.wait_for("configured", sessions_added=["Global_172_17_42_99"])
        assert bird.reconfigurations() == before + 1

    def test_bird_logs_where_a_setting_says(self, etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path) -> None:
        etcd.put_all(CLUSTER)
        log = tmp_path / "bird's own.log"
        rrwatch = start_rrwatch(etcd.url, bird, RRWATCH_BIRD_LOG=str(log))
        rrwatch.wait_for("configured")
        etcd.delete(f"{PREFIX}/host/kube-node1", recursive=True)
        wait_until(lambda: "Reconfiguring" in log.read_text(), "a line in the log")

        rrwatch.stop()
        refused = start_rrwatch(etcd.url, bird, RRWATCH_BIRD_LOG=str(tmp_path / "no" / "bird.log")).wait_for("refused")
        assert "No such file" in refused["reason"]
        assert f'log "{log}" all;' in bird.config.read_text()

    def test_sighup_lists_again(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd.url, bird, RRWATCH_LOG_LEVEL="debug")
        rrwatch.wait_for("configured")
        listed = len(rrwatch.all("etcd_synced"))

        rrwatch.process.signal(signal.SIGHUP)

        rrwatch.wait_for("etcd_synced", after=listed)


class TestLiveSessions:
    def test_a_session_stays_up_while_others_come_and_go(
        self, etcd: Etcd, bird: Bird, space: Namespace, tmp_path: Path, start_rrwatch: Start
    ) -> None:
        with namespace() as far:
            join(space, f"{REFLECTOR}/24", far, "172.17.42.31/24")
            client = Bird(tmp_path / "client", far, release=bird.release)
            first, channel = ("", "export all;") if bird.release is BIRD1 else ("ipv4;", "ipv4 { export all; };")
            client.config.write_text(
                "router id 172.17.42.31;\nprotocol device { scan time 2; }\n"
                f"protocol static {{ {first} route 192.168.0.0/26 blackhole; }}\n"
                f"protocol bgp upstream {{ local as 65100; neighbor {REFLECTOR} as 65100; source address 172.17.42.31;"
                f" {channel} connect retry time 1; connect delay time 1; }}\n"
            )
            client.start()
            try:
                etcd.put_all(CLUSTER)
                rrwatch = start_rrwatch(etcd.url, bird)
                wait_until(lambda: bird.is_established("Global_172_17_42_31"), "the session", 60)
                wait_until(lambda: "192.168.0.0/26" in bird.command("show route"), "the client's route")
                connections = space.bgp_connections("172.17.42.31")

                etcd.put_all(host("new", "172.17.42.50"))
                wait_for_sessions(bird, SESSIONS | names("172.17.42.50"))
                etcd.delete(f"{PREFIX}/host/kube-node2", recursive=True)
                etcd.put_all(reflector("172.17.42.41"))
                wait_for_sessions(bird, names("172.17.42.30", "172.17.42.31", "172.17.42.50") | {"Mesh_172_17_42_41"})
                etcd.put(f"{PREFIX}/global/loglevel", "debug")
                wait_until(lambda: "debug all;" in bird.config.read_text(), "the log level")
                wait_until(lambda: rrwatch.all("configured")[-1]["generation"] == bird.generation(), "confirmation")
                assert rrwatch.stop() == 0

                assert bird.is_established("Global_172_17_42_31")
                assert connections & space.bgp_connections("172.17.42.31")
                assert "192.168.0.0/26" in bird.command("show route")
            finally:
                client.stop()


class TestEtcdFaults:
    def test_history_cleared_while_cut_off(self, own_etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        own_etcd.put_all(CLUSTER)
        rrwatch = start_rrwatch(own_etcd.url, bird)
        wait_for_sessions(bird, SESSIONS)

        with rrwatch.process.frozen():
            own_etcd.put_all(host("new", "172.17.42.50"))
            for number in range(1100):
                own_etcd.put("/elsewhere", str(number))

        wait_for_sessions(bird, SESSIONS | names("172.17.42.50"))

    def test_wiped(self, own_etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        own_etcd.put_all(CLUSTER)
        for number in range(50):
            own_etcd.put("/elsewhere", str(number))
        rrwatch = start_rrwatch(own_etcd.url, bird)
        wait_for_sessions(bird, SESSIONS)

        own_etcd.kill()
        own_etcd.wipe()
        own_etcd.start()
        own_etcd.put_all(CLUSTER | host("new", "172.17.42.50"))

        wait_for_sessions(bird, SESSIONS | names("172.17.42.50"))
        rrwatch.wait_for("etcd_alarm")

    def test_unreachable_at_start_leaves_all_as_it_is(self, own_etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        own_etcd.put_all(CLUSTER)
        own_etcd.stop()
        installed = bird.config.read_bytes()

        rrwatch = start_rrwatch(own_etcd.url, bird)
        lost = rrwatch.wait_for("etcd_lost")
        assert own_etcd.url in lost["reason"]
        assert bird.config.read_bytes() == installed
        assert bird.reconfigurations() == 0

        own_etcd.start()
        wait_for_sessions(bird, SESSIONS)

    def test_another_endpoint_takes_over(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        dead = [f"http://127.0.0.1:{free_port()}" for _ in range(3)]
        start_rrwatch(",".join([*dead, etcd.url]), bird)
        wait_for_sessions(bird, SESSIONS)


class TestTls:
    def test_with_a_client_certificate(self, tls_etcd: Etcd, tls: Path, bird: Bird, start_rrwatch: Start) -> None:
        tls_etcd.put_all(CLUSTER)
        start_rrwatch(
            tls_etcd.url,
            bird,
            ETCD_CA_CERT_FILE=str(tls / "ca.pem"),
            ETCD_CERT_FILE=str(tls / "client.pem"),
            ETCD_KEY_FILE=str(tls / "client.key"),
        )
        wait_for_sessions(bird, SESSIONS)
        tls_etcd.put_all(host("new", "172.17.42.50"))
        wait_for_sessions(bird, SESSIONS | names("172.17.42.50"))

    def test_without_one(self, tls_etcd: Etcd, tls: Path, bird: Bird, start_rrwatch: Start) -> None:
        rrwatch = start_rrwatch(tls_etcd.url, bird, ETCD_CA_CERT_FILE=str(tls / "ca.pem"))
        assert "certificate" in rrwatch.wait_for("etcd_lost")["reason"]
        assert bird.reconfigurations() == 0


class TestBirdFaults:
    def test_refused_config_leaves_file_and_bird(
        self, etcd: Etcd, bird: Bird, tmp_path: Path, start_rrwatch: Start
    ) -> None:
        etcd.put_all(CLUSTER)
        templates = tmp_path / "templates"
        templates.mkdir()
        (templates / "reflector.cfg.j2").write_text("router id {{ router_id }};\nprotocol nonsense;\n")
        installed = bird.config.read_bytes()

        rrwatch = start_rrwatch(etcd.url, bird, RRWATCH_TEMPLATES=str(templates))

        refused = rrwatch.wait_for("refused")
        kept = bird.folder / "bird.cfg.rejected"
        line = kept.read_text().splitlines().index("protocol nonsense;") + 1
        assert refused["reason"].startswith(f"{kept}:{line}:")
        where = {"file": str(kept), "line": line, "session": None, "template": str(templates / "reflector.cfg.j2")}
        assert refused.items() >= where.items()
        wait_until(lambda: status_of(rrwatch)["daemons"], "the status of the pass")
        assert status_of(rrwatch)["daemons"]["bird"]["refused"] == where
        assert bird.config.read_bytes() == installed
        assert bird.sessions() == set()
        assert bird.reconfigurations() == 0
        assert sorted(path.name for path in bird.folder.iterdir() if path.name.startswith(".")) == []

        (templates / "reflector.cfg.j2").unlink()
        assert set(rrwatch.wait_for("configured")["cause"]) == set(CLUSTER)
        wait_for_sessions(bird, SESSIONS)

    def test_templates_change_live_and_the_last_good_ones_stay(
        self, etcd: Etcd, bird: Bird, tmp_path: Path, start_rrwatch: Start
    ) -> None:
        etcd.put_all(CLUSTER)
        templates = tmp_path / "templates"
        templates.mkdir()
        rrwatch = start_rrwatch(etcd.url, bird, RRWATCH_TEMPLATES=str(templates))
        wait_for_sessions(bird, SESSIONS)
        template = templates / "session.cfg.j2"
        good = (
            "protocol bgp {{ session.name }} from bgp_template {\n"
            "  local as {{ session.local_as }};\n  neighbor {{ session.neighbor }} as {{ session.remote_as }};\n"
            "  hold time 33;\n}\n"
        )

        template.write_text(good)
        wait_until(lambda: "hold time 33;" in bird.config.read_text(), "the template's statement")

        template.write_text("line one\n{% if %}\n")
        broken = rrwatch.wait_for("template_error")
        assert f"{template}:2:" in broken["reason"]

        template.write_text(good + "{{ session.nonsense }}\n")
        undefined = rrwatch.wait_for("template_error", after=1)
        assert f"{template}:6:" in undefined["reason"]
        assert "nonsense" in undefined["reason"]

        template.write_text(good + "no statement of BIRD\n")
        refused = rrwatch.wait_for("template_error", after=2)
        assert "refused: " in refused["reason"]
        event = rrwatch.wait_for("refused", daemon="bird")
        text = (bird.folder / "bird.cfg.rejected").read_text().splitlines()
        assert text[event["line"] - 1] == "no statement of BIRD"
        assert event["session"] in SESSIONS
        assert event["template"] == str(template)

        etcd.put_all(host("new", "172.17.42.50"))
        wait_for_sessions(bird, SESSIONS | names("172.17.42.50"))
        wait_until(lambda: bird.config.read_text().count("hold time 33;") == 4, "the file, which follows BIRD")

    def test_bird_killed_and_restarted_on_an_older_file(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        older = bird.config.read_text()
        rrwatch = start_rrwatch(etcd.url, bird)
        wait_for_sessions(bird, SESSIONS)

        bird.kill()
        etcd.put_all(host("new", "172.17.42.50"))
        rrwatch.wait_for("waiting_for_bird")
        wait_until(lambda: "172.17.42.50" in bird.config.read_text(), "the file is right while BIRD is away")
        bird.start()
        assert bird.sessions() == SESSIONS | names("172.17.42.50")
        rrwatch.wait_for("confirmed")

        bird.kill()
        rrwatch.wait_for("waiting_for_bird", after=1)
        with rrwatch.process.frozen():
            bird.config.write_text(older)
            bird.start()
            assert bird.sessions() == set()
        wait_for_sessions(bird, SESSIONS | names("172.17.42.50"))

    def test_a_restart_of_bird_is_told(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd.url, bird)
        rrwatch.wait_for("configured")
        bird.stop()
        bird.start()
        rrwatch.wait_for("bird_restarted")
        assert bird.sessions() == SESSIONS
        assert bird.reconfigurations() == 1

    def test_bird_started_late(
        self, etcd: Etcd, tmp_path: Path, space: Namespace, release: Release, start_rrwatch: Start
    ) -> None:
        etcd.put_all(CLUSTER)
        late = Bird(tmp_path / "late", space, release=release)
        rrwatch = start_rrwatch(etcd.url, late)
        rrwatch.wait_for("installed")
        rrwatch.wait_for("waiting_for_bird")
        assert late.config.stat().st_mode & 0o777 == 0o640

        late.start()
        try:
            assert late.sessions() == SESSIONS
            rrwatch.wait_for("confirmed")
            assert late.reconfigurations() == 0
        finally:
            late.stop()

    def test_a_host_upgraded_from_one_bird_to_another(
        self, etcd: Etcd, bird: Bird, tmp_path: Path, start_rrwatch: Start
    ) -> None:
        installed = tmp_path / "sbin"
        installed.symlink_to(bird.release.folder)
        etcd.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd.url, bird, PATH=f"{installed}:/usr/bin:/bin")
        wait_for_sessions(bird, SESSIONS)

        for release in (*RELEASES, bird.release):
            bird.stop()
            new = tmp_path / "new"
            new.symlink_to(release.folder)
            new.replace(installed)
            bird.release = release
            wait_until(lambda release=release: release.refuses(bird.config) == "", f"a config for {release}")  # type: ignore[misc]
            bird.start()
            assert bird.sessions() == SESSIONS
            etcd.put_all(host("new", f"172.17.42.5{release.name[0]}"))
            wait_for_sessions(bird, SESSIONS | names(f"172.17.42.5{release.name[0]}"))
            etcd.delete(f"{PREFIX}/host/new", recursive=True)
            wait_for_sessions(bird, SESSIONS)
        assert not rrwatch.all("refused")
        assert not rrwatch.all("drift_found")

    def test_another_bird_comes_up_at_once(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        start_rrwatch(etcd.url, bird, PATH="/usr/bin:/bin")
        wait_for_sessions(bird, SESSIONS)
        ours = bird.config.read_text()
        bird.stop()
        bird.release = BIRD2 if bird.release is BIRD1 else BIRD1
        bird.config.write_text(MINIMAL)
        bird.start()
        wait_for_sessions(bird, SESSIONS)
        assert bird.config.read_text().splitlines()[0] != ours.splitlines()[0]

    def test_two_hundred_changes_in_a_storm(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        def wait_for_cluster_id(cluster_id: str) -> None:
            wait_until(lambda: f"rr cluster id {cluster_id};" in bird.config.read_text(), f"cluster id {cluster_id}")

        etcd.put_all(CLUSTER)
        start_rrwatch(etcd.url, bird, RRWATCH_MIN_INTERVAL="0")
        wait_for_sessions(bird, SESSIONS)
        for number in range(1, 201):
            etcd.put(f"{PREFIX}/host/storm{number % 50}/ip_addr_v4", f"172.17.44.{number}")
            if number % 10 == 0:
                etcd.put_all(reflector(REFLECTOR, f"1.0.0.{number}"))
            if number % 100 == 0:
                wait_for_cluster_id(f"1.0.0.{number}")
        wait_for_sessions(bird, SESSIONS | names(*(f"172.17.44.{number}" for number in range(151, 201))))
        assert bird.process.is_running()

    @pytest.mark.parametrize("damage", ["edited", "truncated", "deleted"])
    def test_a_damaged_file_is_put_right(self, etcd: Etcd, bird: Bird, start_rrwatch: Start, damage: str) -> None:
        etcd.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd.url, bird)
        rrwatch.wait_for("configured")
        right = bird.config.read_text()

        if damage == "edited":
            bird.config.write_text(right.replace("172.17.42.31", "172.17.42.77"))
        elif damage == "truncated":
            os.truncate(bird.config, len(right) // 2)
        else:
            bird.config.unlink()

        rrwatch.wait_for("drift_found")
        wait_until(lambda: bird.config.exists() and bird.config.read_text() == right, "the right file")
        wait_for_sessions(bird, SESSIONS)


class TestRecords:
    def test_bad_records_cost_only_themselves(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd.url, bird, RRWATCH_LOG_LEVEL="debug")
        wait_for_sessions(bird, SESSIONS)
        bad = {
            f"{PREFIX}/host/no-address/as_num": "65100",
            f"{PREFIX}/host/newline/ip_addr_v4": '10.0.0.1;\n} protocol static { route 0.0.0.0/0 blackhole; }"',
            f"{PREFIX}/host/od d\n}};/ip_addr_v4": "10.0.0.2",
            f"{PREFIX}/host/kube-node1/peer_v4/{REFLECTOR}": "{not json",
            f"{PREFIX}/rr_v4/172.17.42.42": '{"ip": "172.17.42.42", "cluster_id": "1.0.0.1; import none; passive"}',
            f"{PREFIX}/global/peer_v4/172.17.42.43": '{"ip": "172.17.42.43", "as_num": "nope"}',
        }

        etcd.put_all(bad)
        etcd.put_all(host("good", "172.17.42.50"))

        wait_for_sessions(bird, SESSIONS | names("172.17.42.50"))
        expected = set(bad) - {f"{PREFIX}/host/no-address/as_num"} | {f"{PREFIX}/host/no-address/ip_addr_v4"}
        wait_until(lambda: {event["key"] for event in rrwatch.all("record_rejected")} == expected, "all rejected")
        for key in list(bad):
            etcd.delete(key)
        wait_until(
            lambda: {event["key"] for event in rrwatch.all("record_no_longer_rejected")} == expected, "all accepted"
        )


class TestEnding:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_ends_with_0_and_leaves_sessions(
        self, etcd: Etcd, bird: Bird, start_rrwatch: Start, number: signal.Signals
    ) -> None:
        etcd.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd.url, bird)
        wait_for_sessions(bird, SESSIONS)

        rrwatch.process.signal(number)

        assert rrwatch.process.wait(5) == 0
        assert bird.sessions() == SESSIONS
        assert bird.reconfigurations() == 1

    def test_in_the_middle_of_a_hanging_bird(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd.url, bird)
        rrwatch.wait_for("configured")
        right = bird.config.read_text()

        with bird.process.frozen():
            etcd.put_all(host("new", "172.17.42.50"))
            rrwatch.process.signal(signal.SIGTERM)
            assert rrwatch.process.wait(5) == 0

        assert bird.config.read_text() == right
        assert bird.sessions() == SESSIONS

    def test_while_etcd_does_not_answer(self, own_etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        own_etcd.put_all(CLUSTER)
        with own_etcd.process.frozen():
            rrwatch = start_rrwatch(own_etcd.url, bird)
            rrwatch.wait_for("started")
            rrwatch.process.signal(signal.SIGTERM)
            assert rrwatch.process.wait(5) == 0

    def test_killed_at_any_moment_of_a_storm(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        for number in range(6):
            rrwatch = start_rrwatch(etcd.url, bird, RRWATCH_MIN_INTERVAL="0")
            rrwatch.wait_for("started")
            for write in range(5 + 7 * number):
                etcd.put_all(host("storm", f"172.17.44.{write + 1}"))
            rrwatch.kill()
            assert bird.config.read_text().endswith("}\n")
        start_rrwatch(etcd.url, bird)
        last = f"172.17.44.{5 + 7 * 5}"
        wait_for_sessions(bird, SESSIONS | names(last))
        wait_until(lambda: not [path for path in bird.folder.iterdir() if path.name.startswith(".")], "no litter")
