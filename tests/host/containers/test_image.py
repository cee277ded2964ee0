"""The images of rrwatch and BIRD together, as in the manifests in deploy/kubernetes and in compose.yaml."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

import rrwatch
from lab.bird import BIRD2, Bird
from lab.etcd import Etcd
from lab.network import Namespace, join, namespace
from lab.process import wait_until
from tests.host.containers.compose import FILE, Project
from tests.host.containers.images import ROOT, Builder, Image
from tests.host.containers.pods import Pod, runtime
from tests.keys import CLUSTER, NODES, PREFIX, REFLECTOR, SESSIONS, block, host, pool

MANIFESTS = ROOT / "deploy" / "kubernetes"
Images = dict[str, Image]
PodOf = Callable[..., Pod]


@pytest.fixture(params=["1.6", "2"])
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def machine() -> Iterator[Namespace]:
    """The network namespace of the pod's host."""
    with namespace() as space:
        yield space


@pytest.fixture
def cluster(tmp_path: Path, machine: Namespace) -> Iterator[Etcd]:
    """An etcd on the pod's host with the keys of the walkthrough, which a test may stop."""
    etcd = Etcd(tmp_path / "etcd", namespace=machine.name, address="127.0.0.1").start()
    etcd.put_all(CLUSTER)
    yield etcd
    with contextlib.suppress(AssertionError):
        etcd.stop()


@pytest.fixture
def pod_of(tmp_path: Path, machine: Namespace, rrwatch_image: Image, birds: Images) -> Iterator[PodOf]:
    """Makes pods on one host, as in `pod_of("reflector", "2")`; each finds what the ones before left on the host."""
    template = {
        role: next(yaml.safe_load_all((MANIFESTS / f"{role}.yaml").read_text()))["spec"]["template"]["spec"]
        for role in ("reflector", "node")
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(runtime())

        def make(role: str, release: str, address: str = REFLECTOR, **settings: str) -> Pod:
            images = {"rrwatch": rrwatch_image, "rrwatch-bird": birds[release]}
            fields = {"status.hostIP": address, "spec.nodeName": "kube-node1"}
            settings = {"ETCD_ENDPOINTS": "http://127.0.0.1:2379", **settings}
            pod = Pod(template[role], images, machine, tmp_path, settings, fields)
            stack.callback(pod.remove)
            return pod

        yield make


def birdc(pod: Pod, *command: str, container: str = "bird") -> str:
    status, output = pod.containers[container].execute("birdc", *command)
    assert status == 0, output
    return output


def wait_until_alive(pod: Pod, name: str) -> None:
    wait_until(lambda: pod.passes("livenessProbe", name), f"{name} passes its liveness probe")


def sessions(pod: Pod) -> set[str]:
    """Returns the names of BIRD's BGP protocols; none while BIRD does not answer."""
    status, output = pod.containers["bird"].execute("birdc", "show", "protocols")
    return set() if status else set(re.findall(r"^(\S+) +BGP ", output, re.MULTILINE))


def credentials(pid: int) -> dict[str, str]:
    """Returns the fields of /proc/PID/status with the rights of a process."""
    rows = (line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    fields = {name: " ".join(value.split()) for name, value in rows}
    return {name: fields[name] for name in ("Uid", "Gid", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs")}


def test_the_image_is_rrwatch_of_this_version(rrwatch_image: Image, pod_of: PodOf) -> None:
    assert rrwatch_image.labels["org.opencontainers.image.version"] == rrwatch.__version__
    assert rrwatch_image.config["User"] == "10179:10179"
    pod = pod_of("reflector", "2").start("rrwatch")
    assert pod.containers["rrwatch"].execute("rrwatch", "--version") == (0, f"rrwatch {rrwatch.__version__}\n")


def test_the_images_are_small_and_hold_nothing_of_the_build(rrwatch_image: Image, birds: Images) -> None:
    installed = rrwatch_image.rootfs / "opt" / "rrwatch"
    size = sum(path.lstat().st_size for path in installed.rglob("*"))
    assert size < 40 * 2**20
    sources, compiled = (len(list(installed.rglob(f"*.{kind}"))) for kind in ("py", "pyc"))
    assert compiled >= sources - 1  # one of them is a script of the virtual environment
    for image in rrwatch_image, *birds.values():
        assert not list((image.rootfs / "var" / "lib" / "apt" / "lists").glob("*Packages*"))
        # The image must not trust the CA of the proxy that it was built behind.
        assert not (image.rootfs / "run" / "ca.pem").is_file()
        assert not list((image.rootfs / "usr" / "local" / "share" / "ca-certificates").glob("*"))


@pytest.mark.parametrize("first", ["bird", "rrwatch"])
@pytest.mark.usefixtures("cluster")
def test_a_new_pod_gets_ready_in_either_order(release: str, first: str, pod_of: PodOf) -> None:
    pod = pod_of("reflector", release)
    done = pod.initialize()
    assert done["once"][0] == 0
    assert "BIRD starts with" not in done["once"][1]

    for name in first, *(pod.containers.keys() - {first}):
        pod.containers[name].start()
        wait_until_alive(pod, name)

    pod.wait_until_ready()
    assert sessions(pod) == SESSIONS
    assert birdc(pod, "show", "status", container="rrwatch").startswith(f"BIRD {release}")
    status, findings = pod.containers["rrwatch"].execute("rrwatch", "check")
    assert status == 0, findings


@pytest.mark.usefixtures("cluster")
def test_nobody_has_more_rights_than_it_needs(release: str, pod_of: PodOf) -> None:
    pod = pod_of("reflector", release).start("bird", "rrwatch")
    pod.wait_until_ready()

    bird, own = (credentials(pod.containers[name].pid()) for name in ("bird", "rrwatch"))

    net_bind_service, net_admin, net_raw = 10, 12, 13
    three = f"{1 << net_bind_service | 1 << net_admin | 1 << net_raw:016x}"
    assert [bird["CapPrm"], bird["CapEff"], bird["CapAmb"]] == [three] * 3
    assert set(bird["Uid"].split()) != {"0"}
    assert set(bird["Gid"].split()) == {"10179"}
    assert own["CapPrm"] == own["CapEff"] == f"{0:016x}"
    assert set(own["Uid"].split()) == set(own["Gid"].split()) == {"10179"}
    assert bird["NoNewPrivs"] == own["NoNewPrivs"] == "1"
    for name in "bird", "rrwatch":
        assert pod.containers[name].execute("touch", "/tmp/x")[0] != 0
    assert pod.containers["rrwatch"].execute("touch", "/etc/rrwatch/etcd/x")[0] != 0


def test_with_etcd_down_a_new_pod_starts_and_waits(release: str, cluster: Etcd, pod_of: PodOf) -> None:
    cluster.stop()
    pod = pod_of("reflector", release)
    done = pod.initialize()
    assert "rrwatch once ended with status 1: BIRD starts with the configuration that is there" in done["once"][1]

    for container in pod.containers.values():
        container.start()

    for name in pod.containers:
        wait_until_alive(pod, name)
    assert "is not there yet: bird starts without sessions until rrwatch writes it" in pod.containers["bird"].output()
    assert pod.probe("readinessProbe", "rrwatch")[0] == 1
    assert sessions(pod) == set()
    bird = pod.containers["bird"].pid()

    cluster.start()
    pod.wait_until_ready(60)
    assert sessions(pod) == SESSIONS
    assert pod.containers["bird"].pid() == bird


def test_with_etcd_down_the_next_pod_runs_the_last_configuration(release: str, cluster: Etcd, pod_of: PodOf) -> None:
    before = pod_of("reflector", release).start("bird", "rrwatch")
    before.wait_until_ready()
    before.delete()
    cluster.stop()

    pod = pod_of("reflector", release).start("bird", "rrwatch")

    wait_until(lambda: sessions(pod) == SESSIONS, "BIRD runs its last sessions")
    wait_until_alive(pod, "rrwatch")
    assert pod.probe("readinessProbe", "rrwatch")[0] == 1


def test_a_change_arrives(release: str, cluster: Etcd, pod_of: PodOf) -> None:
    pod = pod_of("reflector", release).start("bird", "rrwatch")
    pod.wait_until_ready()

    cluster.put_all(host("kube-node3", "172.17.42.33"))

    wait_until(lambda: sessions(pod) == SESSIONS | {"Global_172_17_42_33"}, "the session of the new node")
    pod.wait_until_ready()


def test_each_container_may_restart_alone(release: str, cluster: Etcd, pod_of: PodOf) -> None:
    pod = pod_of("reflector", release).start("bird", "rrwatch")
    pod.wait_until_ready()
    bird, own = pod.containers["bird"], pod.containers["rrwatch"]

    bird.kill()
    cluster.put_all(host("kube-node3", "172.17.42.33"))
    bird.start()
    pod.wait_until_ready()
    assert sessions(pod) == SESSIONS | {"Global_172_17_42_33"}

    pid = bird.pid()
    own.kill()
    cluster.delete(f"{PREFIX}/host/kube-node3", recursive=True)
    own.start()
    pod.wait_until_ready()
    assert sessions(pod) == SESSIONS
    assert bird.pid() == pid


def test_a_damaged_configuration_does_not_keep_bird_from_starting(release: str, cluster: Etcd, pod_of: PodOf) -> None:
    before = pod_of("reflector", release).start("bird", "rrwatch")
    before.wait_until_ready()
    before.delete()
    cluster.stop()
    config = before.mounted("config") / "bird.cfg"
    config.write_text(config.read_text()[:-20])

    pod = pod_of("reflector", release).start("bird", "rrwatch")

    wait_until_alive(pod, "bird")
    assert "bird does not accept /etc/bird/bird.cfg: " in pod.containers["bird"].output()
    assert (before.mounted("config") / "bird.cfg.refused").exists()
    cluster.start()
    pod.wait_until_ready(60)
    assert sessions(pod) == SESSIONS


def test_what_is_held_keeps_its_sessions_in_the_next_pod(release: str, cluster: Etcd, pod_of: PodOf) -> None:
    before = pod_of("reflector", release).start("bird", "rrwatch")
    before.wait_until_ready()
    before.delete()
    cluster.stop()
    cluster.wipe()
    cluster.token = "another cluster"
    cluster.start()

    pod = pod_of("reflector", release)
    done = pod.initialize()
    assert "rrwatch once ended with status 4: BIRD starts with the configuration that is there" in done["once"][1]
    for container in pod.containers.values():
        container.start()

    for name in pod.containers:
        wait_until_alive(pod, name)
    wait_until(lambda: sessions(pod) == SESSIONS, "BIRD runs what is held")
    assert pod.probe("readinessProbe", "rrwatch")[0] == 4
    assert pod.containers["rrwatch"].execute("rrwatch", "release")[0] == 0
    pod.wait_until_ready()
    assert sessions(pod) == set()


@pytest.mark.usefixtures("cluster")
def test_wrong_settings_leave_bird_running(pod_of: PodOf) -> None:
    before = pod_of("reflector", "2").start("bird", "rrwatch")
    before.wait_until_ready()
    before.delete()

    pod = pod_of("reflector", "2", RRWATCH_GUARD_PERCENT="many").start("bird", "rrwatch")

    assert pod.containers["rrwatch"].wait() == 2
    wait_until(lambda: sessions(pod) == SESSIONS, "BIRD runs its last sessions")


@pytest.mark.parametrize("pinned", [False, True], ids=["found out", "told"])
@pytest.mark.usefixtures("cluster")
def test_bird_is_upgraded(pinned: bool, pod_of: PodOf) -> None:
    before = pod_of("reflector", "1.6").start("bird", "rrwatch")
    before.wait_until_ready()
    before.delete()

    pod = pod_of("reflector", "2", **({"RRWATCH_BIRD_VERSION": "2"} if pinned else {})).start("bird", "rrwatch")

    pod.wait_until_ready()
    assert sessions(pod) == SESSIONS
    assert birdc(pod, "show", "status").startswith("BIRD 2")
    # With the version set, sessions exist from the start, and so does a graceful restart.
    assert ("does not accept" in pod.containers["bird"].output()) is not pinned


@pytest.fixture
def neighbor(tmp_path: Path, machine: Namespace) -> Iterator[Bird]:
    """A BIRD on another host, which the pod peers with."""
    with namespace() as space:
        join(machine, f"{NODES['kube-node1']}/24", space, f"{REFLECTOR}/24")
        bird = Bird(tmp_path / "neighbor", space, release=BIRD2)
        bird.config.write_text(
            f"""
            router id {REFLECTOR};
            protocol device {{ }}
            protocol bgp node {{
                local {REFLECTOR} as 65100;
                neighbor {NODES["kube-node1"]} as 65100;
                rr client;
                graceful restart;
                ipv4 {{ import all; export all; }};
            }}
            """
        )
        bird.start()
        yield bird
        bird.stop()


def test_a_new_pod_of_a_node_takes_no_route_away(
    release: str, machine: Namespace, neighbor: Bird, cluster: Etcd, pod_of: PodOf
) -> None:
    cluster.put_all({**pool("192.168.0.0/16"), **block("kube-node1", "192.168.0.0/26")})
    before = pod_of("node", release).start("bird", "rrwatch")
    before.wait_until_ready()
    route = re.compile(r"^192\.168\.0\.0/26 .*$", re.MULTILINE)
    wait_until(lambda: route.search(neighbor.command("show route")), "the neighbor has the node's block")
    assert "blackhole 192.168.0.0/26" in machine.ip("route")

    before.delete()
    assert not neighbor.is_established("node")
    assert "blackhole 192.168.0.0/26" in machine.ip("route")
    # BIRD 1.6 has no command to end without notifying its neighbors.
    keeps = release != "1.6"
    assert bool(route.search(neighbor.command("show route"))) is keeps
    lost: list[str] = []

    def established() -> bool:
        if keeps and not route.search(neighbor.command("show route")):
            lost.append(neighbor.command("show protocols all node"))
        if "blackhole 192.168.0.0/26" not in machine.ip("route"):
            lost.append(machine.ip("route"))
        return neighbor.is_established("node")

    pod = pod_of("node", release).start("bird", "rrwatch")
    wait_until(established, "the session is up again", 60)

    pod.wait_until_ready()
    established()
    assert lost == []
    wait_until(lambda: route.search(neighbor.command("show route")), "the neighbor has the block")


@pytest.fixture
def project(tmp_path: Path, builder: Builder, base: str, rrwatch_image: Image, birds: Images) -> Iterator[Project]:
    etcd = builder.build("rrwatch-etcd", ROOT / "deploy" / "etcd", base, {})
    images = {".": rrwatch_image, "deploy/bird": birds["2"], "deploy/etcd": etcd}
    with contextlib.ExitStack() as stack:
        yield Project(tmp_path, images, stack)


def test_what_the_file_says_to_try_works(project: Project) -> None:
    services = project.containers
    services["etcd"].start()
    wait_until(lambda: services["etcd"].execute("etcdctl", "cluster-health")[0] == 0, "etcd is healthy")
    status, output = services["calico"].run()
    assert status == 0, output
    for name in sorted(services.keys() - {"etcd", "calico"}):
        services[name].start()
    ready = ["reflector", "node1", "node2"]
    wait_until(lambda: all(services[name].execute("rrwatch", "status")[0] == 0 for name in ready), "all are ready", 60)

    tried = re.findall(r"^#   docker compose exec (.*)$", FILE.read_text(), re.MULTILINE)
    add_reflector, add_peer, *commands = tried
    project.execute(add_reflector)
    project.execute(add_peer)

    def routed() -> bool:
        return project.execute("reflector birdc show protocols").count("Established") == 2 and bool(
            re.search(r"^192\.168\.0\.64/26 +unicast", project.execute("node1 birdc show route"), re.MULTILINE)
        )

    wait_until(routed, "node1 has the block of node2", 60)
    for command in commands:
        project.execute(command)
