"""Sessions with a password, a port and GTSM come up; an eBGP client's routes pass with next hop and preference kept."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lab.bird import RELEASES, Bird, Release
from lab.network import Switch
from lab.process import captured, inside, program, wait_until
from rrwatch.bgp.sessions import Kind, Session, session_name
from rrwatch.bgp.topology import AsNumber, Debug, Family, Password
from rrwatch.bird import templates
from rrwatch.bird.config import ReflectorConfig
from rrwatch.bird.version import Grammar

REFLECTOR = IPv4Address("172.17.42.40")
SECURED, EXTERNAL, PLAIN = (IPv4Address(f"172.17.42.{number}") for number in (31, 32, 33))
INSIDE, OUTSIDE = AsNumber(65100), AsNumber(65102)
OWN_PORT, ITS_PORT = 1179, 1790
PASSWORD = "a # password; {of} 'RFC 2385'"
PREFERENCE = 2147482623  # what nodes of Calico 3.32 announce
SECONDS = 40.0

NAME = session_name(Kind.GLOBAL, SECURED, ITS_PORT)
TERMS = f'password "{PASSWORD}"; ttl security on; multihop 1; passive on;'

PAIRS = [(one, other) for one, other in zip(RELEASES, [*RELEASES[1:], RELEASES[0]], strict=True)]


@dataclass
class Lab:
    """A reflector, and three clients: one with all terms, one of another AS, one without anything special."""

    reflector: Bird
    clients: dict[IPv4Address, Bird]
    space: str

    def run(self, *command: str) -> str:
        """Runs a command beside the reflector, and returns its output."""
        return captured([*inside(self.space), *command], 10).stdout

    def dropped(self, counter: str) -> int:
        """Returns how many packets the reflector's kernel dropped for one reason."""
        names, values = (line.split() for line in self.run("cat", "/proc/net/netstat").splitlines()[:2])
        return int(dict(zip(names, values, strict=True))[counter])

    def wait_for_sessions(self) -> None:
        for neighbor, port in (SECURED, ITS_PORT), (EXTERNAL, None), (PLAIN, None):
            name = session_name(Kind.GLOBAL, neighbor, port)
            try:
                wait_until(lambda name=name: self.reflector.is_established(name), name, SECONDS)  # type: ignore[misc]
            except TimeoutError:
                raise AssertionError(self.reflector.command(f"show protocols all {name}")) from None

    def route(self, client: IPv4Address, network: str) -> str:
        """Waits until a client has a route, and returns its attributes."""
        bird = self.clients[client]
        wait_until(
            lambda: "BGP.next_hop" in bird.command(f"show route {network} all"), f"{network} on {client}", SECONDS
        )
        return bird.command(f"show route {network} all")


def session(neighbor: IPv4Address, remote_as: AsNumber, **terms: object) -> Session:
    known = {"rr_client": remote_as == INSIDE, "cluster_id": None, "node": "n", "key": "/k"} | terms
    name = session_name(Kind.GLOBAL, neighbor, known.get("port"))  # type: ignore[arg-type]
    return Session(name, Kind.GLOBAL, Family.IPV4, neighbor, INSIDE, remote_as, **known)  # type: ignore[arg-type]


def configuration(release: Release) -> str:
    """What rrwatch writes for the reflector."""
    secured = session(
        SECURED,
        INSIDE,
        port=ITS_PORT,
        password=Password("s", "k", PASSWORD),
        ttl_security=1,
        graceful_restart_time=60,
        keepalive_time=10,
    )
    sessions = secured, session(EXTERNAL, OUTSIDE), session(PLAIN, INSIDE, passive=True)
    grammar = Grammar.BIRD1 if release.one_for_each_family else Grammar.BIRD2
    config = ReflectorConfig(grammar, REFLECTOR, (REFLECTOR,), Debug.OFF, sessions, OWN_PORT)
    return templates.load(None).render(config).text


def client(release: Release, own: IPv4Address, number: AsNumber, network: str, terms: str = "", port: int = 179) -> str:
    """The configuration of a client, written by hand, which announces one network."""
    old = release.one_for_each_family
    routes = f"protocol static {{ {'' if old else 'ipv4;'} route {network} blackhole; }}"
    listen = f"listen bgp port {port};" if old else ""
    local = f"local {own} as {number};" if old else f"local {own} port {port} as {number};"
    policy = (
        "import all; export filter { if source = RTS_STATIC then { "
        f"bgp_local_pref = {PREFERENCE}; accept; }} reject; }};"
    )
    return f"""router id {own};
{listen}
protocol device {{ scan time 2; }}
protocol direct {{ {"" if old else "ipv4;"} }}
{routes}
protocol bgp up {{
  {local}
  neighbor {REFLECTOR} port {OWN_PORT} as {INSIDE};
  multihop;
  {terms}
  connect delay time 1; connect retry time 2; error wait time 1, 2;
  {policy if old else f"ipv4 {{ {policy} }};"}
}}
"""


@pytest.fixture
def terms() -> str:
    """What the first client's session has in addition."""
    return TERMS


@pytest.fixture
def lab(tmp_path: Path, clients: Release, reflectors: Release, terms: str) -> Iterator[Lab]:
    texts = {
        SECURED: client(clients, SECURED, INSIDE, "10.1.0.0/24", terms, ITS_PORT),
        EXTERNAL: client(clients, EXTERNAL, OUTSIDE, "10.2.0.0/24"),
        PLAIN: client(clients, PLAIN, INSIDE, "10.3.0.0/24"),
    }
    with contextlib.ExitStack() as stack:
        switch = Switch(stack)
        spaces = {address: switch.plug(f"{address}/16") for address in (REFLECTOR, *texts)}
        birds = {
            address: Bird(tmp_path / str(address), spaces[address], release=clients if address in texts else reflectors)
            for address in spaces
        }
        for address, bird in birds.items():
            bird.config.write_text(texts.get(address) or configuration(reflectors))
            stack.callback(bird.stop)
            bird.start()
        yield Lab(birds.pop(REFLECTOR), birds, spaces[REFLECTOR].name)


def attribute(route: str, name: str) -> str:
    found = re.search(rf"BGP\.{name}: (.*)", route)
    assert found, route
    return found[1].strip()


@pytest.mark.parametrize(("clients", "reflectors"), PAIRS, ids=lambda release: release.name)
def test_terms(lab: Lab) -> None:
    lab.wait_for_sessions()

    # From the client of another AS: the next hop is kept, as route reflection keeps it.
    outside = lab.route(PLAIN, "10.2.0.0/24")
    assert attribute(outside, "next_hop") == str(EXTERNAL)
    assert attribute(outside, "as_path") == str(OUTSIDE)

    # From a client of the same AS: nothing is changed, to a client of the same AS and to another one.
    inside = lab.route(PLAIN, "10.1.0.0/24")
    assert attribute(inside, "next_hop") == str(SECURED)
    assert attribute(inside, "local_pref") == str(PREFERENCE)
    crossing = lab.route(EXTERNAL, "10.1.0.0/24")
    assert attribute(crossing, "next_hop") == str(SECURED)
    assert attribute(crossing, "as_path") == str(INSIDE)
    assert attribute(lab.route(SECURED, "10.3.0.0/24"), "local_pref") == str(PREFERENCE)

    listening = lab.run(program("ss"), "-Htln")
    assert f":{OWN_PORT} " in listening
    assert ":179 " not in listening


@pytest.mark.parametrize(("clients", "reflectors"), PAIRS, ids=lambda release: release.name)
@pytest.mark.parametrize(
    ("terms", "counter"),
    [
        ('password "another"; ttl security on; multihop 1;', "TCPMD5Failure"),
        (f'password "{PASSWORD}"; multihop;', "TCPMinTTLDrop"),
    ],
    ids=["password", "ttl"],
)
def test_a_client_that_does_not_keep_the_terms_is_not_let_in(lab: Lab, counter: str) -> None:
    wait_until(lambda: lab.dropped(counter), counter, SECONDS)
    assert not lab.reflector.is_established(NAME)
