"""Calico nodes as calico-node runs them: BIRD 1.6 with the configuration of its templates, without rrwatch.

The statements are those of Calico 3.32, as far as they matter between BGP speakers and as far as BIRD has them without
Calico's patches: no tunnels, communities, BGPFilters or service addresses. Unlike there, a node's configuration is one
file.
"""

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from lab.bird import Bird
from lab.confd import Cluster
from lab.network import Namespace, Switch, namespace
from lab.process import wait_until
from lab.resources import BLOCKS, RESOURCES

LENGTHS = {4: 16, 6: 64}
"""The prefix lengths of the network that all nodes are connected to."""

_KINDS = {4: "bird", 6: "bird6"}

# Calico sends the metric of a route as its local preference, which is 2^31 - 1 less the metric.
_TEMPLATE = """\
{% set largest = 2147483647 -%}
router id {{ router_id }};
{% if port %}
listen bgp port {{ port }};
{% endif %}

function calico_aggr()
{
{% for block in exported %}
  if ( net = {{ block }} ) then { accept; }
  if ( net ~ {{ block }} && krt_metric < {{ priority }} ) then { accept; }
  if ( net ~ {{ block }} ) then { reject; }
{% endfor %}
}

function calico_export_to_bgp_peers(bool internal_peer)
{
{% for pool in pools if pool.disabled %}
  if ( net ~ {{ pool.cidr }} ) then { reject; }
{% endfor %}
  if ( internal_peer ) then {
    if ( defined(ifname) && ifname ~ "*.cali" ) then { reject; }
    if ( defined(ifname) && ifname ~ "*.calico" ) then { reject; }
  }
  if ( defined(ifname) && ifname ~ "bpf*.cali" ) then { reject; }
  calico_aggr();
{% for pool in pools if not pool.disabled %}
  if ( net ~ {{ pool.cidr }} ) then { accept; }
{% endfor %}
}

filter calico_kernel_programming {
  if ( defined(source) && source = RTS_BGP && !defined(krt_metric) ) then {
    krt_metric = {{ priority }};
    if ( defined(bgp_local_pref) ) then { krt_metric = {{ largest }} - bgp_local_pref; }
    if ( krt_metric < {{ priority }} ) then { preference = 200; }
  }
{% for pool in pools if pool.vxlan %}
  if ( net ~ {{ pool.cidr }} ) then { reject; }
{% endfor %}
  accept;
}

protocol kernel {
  learn;
  persist;
  scan time 2;
  import all;
  export filter calico_kernel_programming;
  graceful restart;
  merge paths on;
}

protocol device {
  debug { states };
  scan time 2;
}

protocol direct {
  debug { states };
  interface -"cali*", -"kube-ipvs*", "*";
}

protocol static {
{% for block in blocks %}
  route {{ block }} blackhole;
{% endfor %}
}

template bgp bgp_template {
  debug { states };
  description "Connection to BGP peer";
  local as {{ local_as }};
  gateway recursive;
  add paths on;
  graceful restart;
  connect delay time 2;
  connect retry time 5;
  error wait time 5,30;
}
{% for session in sessions %}
{% set internal = session.local_as == session.remote_as %}

protocol bgp {{ session.name }} from bgp_template {
{% if session.local_as != local_as %}
  local as {{ session.local_as }};
{% endif %}
  neighbor {{ session.neighbor }}{% if session.port %} port {{ session.port }}{% endif %} as {{ session.remote_as }};
{% if session.source_address %}
  source address {{ session.source_address }};
{% endif %}
  ttl security {{ session.ttl_security }};
  multihop{% if session.multihop is not true %} {{ session.multihop }}{% endif %};
  import filter {
    if ( defined(bgp_local_pref) && bgp_local_pref > {{ largest - priority }} ) then { preference = 200; }
    accept;
  };
  export filter {
    if ( defined(source) && source = RTS_BGP && defined(bgp_local_pref) ) then {
      krt_metric = {{ largest }} - bgp_local_pref;
    } else {
      if ( !defined(krt_metric) ) then { krt_metric = {{ priority }}; }
      bgp_local_pref = {{ largest }} - krt_metric;
    }
    calico_export_to_bgp_peers({{ "true" if internal else "false" }});
    reject;
  };
{% if session.passive %}
  passive on;
{% endif %}
{% if session.graceful_restart_time is not none %}
  graceful restart time {{ session.graceful_restart_time }};
{% endif %}
{% if session.keepalive_time is not none %}
  keepalive time {{ session.keepalive_time }};
{% endif %}
{% if session.rr_client %}
  rr client;
  rr cluster id {{ session.cluster_id }};
{% endif %}
{% if session.password %}
  password "{{ session.password }}";
{% endif %}
{% if session.next_hop %}
  next hop {{ session.next_hop }};
{% endif %}
{% if session.allow_local_as %}
  allow local as {{ session.allow_local_as }};
{% endif %}
}
{% endfor %}
"""


def configuration(cluster: Cluster, keys: Mapping[str, str], name: str, family: int) -> str:
    """Returns the configuration of a node's BIRD for one address family.

    Args:
        cluster: the resources among the keys.
        keys: keys of etcd v3 with their values.
        name: the node's name.
        family: 4 or 6; the node has an address of it.
    """
    (node,) = (node for node in cluster.nodes if node["name"] == name)
    blocks = dict(_blocks(keys, name, family))
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, autoescape=False)
    return environment.from_string(_TEMPLATE).render(
        router_id=next((ip for ip in node["addresses"] if ip.version == 4), None) or _hashed(name),
        port=node["port"],
        local_as=node["as"],
        priority=cluster.default.get(f"ipv{family}NormalRoutePriority") or 1024,
        pools=list(_pools(keys, family)),
        blocks=list(blocks),
        exported=[block for block, state in blocks.items() if state != "pendingDeletion"],
        sessions=sorted(
            (session for session in cluster.protocols(name) if session["family"] == family),
            key=lambda session: session["name"],
        ),
    )


def _blocks(keys: Mapping[str, str], name: str, family: int) -> Iterator[tuple[str, str]]:
    for key, value in sorted(keys.items()):
        prefix = f"{BLOCKS}/{name}/ipv{family}/block/"
        affinity = json.loads(value or "{}") if key.startswith(prefix) else {"state": "pending"}
        if affinity.get("state") != "pending":
            block = ip_network(key.removeprefix(prefix).replace("-", "/"))
            if block.prefixlen < block.max_prefixlen:
                yield str(block), affinity.get("state") or "confirmed"


def _pools(keys: Mapping[str, str], family: int) -> Iterator[dict[str, Any]]:
    for key, value in sorted(keys.items()):
        if key.startswith(f"{RESOURCES}/ippools/"):
            spec = json.loads(value)["spec"]
            if spec.get("ipipMode", "Never") != "Never":
                raise ValueError(f"{key}: BIRD without Calico's patches knows no tunnels")
            if ip_network(spec["cidr"]).version == family:
                vxlan = spec.get("vxlanMode", "Never") != "Never"
                yield {"cidr": spec["cidr"], "disabled": spec.get("disableBGPExport", False), "vxlan": vxlan}


def _hashed(name: str) -> IPv4Address:
    """Returns the router id that calico-node gives a node with CALICO_ROUTER_ID=hash."""
    first, *others = hashlib.sha256(name.encode()).digest()[:4]
    return IPv4Address(bytes([first - 32 if first > 223 else first, *others]))


@dataclass(frozen=True, slots=True)
class _Node:
    addresses: tuple[Any, ...]
    space: Namespace
    birds: dict[int, Bird]
    texts: dict[int, str]
    stack: contextlib.ExitStack


class CalicoNodes:
    """The nodes of a Calico cluster: one network namespace each, on one network, with a BIRD for each family."""

    def __init__(
        self, folder: Path, switch: Switch, stack: contextlib.ExitStack, without: Collection[str] = ()
    ) -> None:
        """Creates no node yet; `update()` does.

        Args:
            folder: for the files of the nodes.
            switch: the network that connects them.
            stack: removes them when it is closed.
            without: names of Nodes on whose hosts no calico-node runs.
        """
        self._folder, self._switch, self._without = folder, switch, without
        self._nodes: dict[str, _Node] = {}
        stack.callback(self._remove_all)

    def update(
        self, keys: Mapping[str, str], secrets: Mapping[str, Mapping[str, str]] | None = None, pace: float = 0.0
    ) -> None:
        """Makes the nodes what the keys say.

        Adds and removes nodes, and reconfigures the BIRDs whose configuration has changed. The port of a running BIRD
        stays what it was, as in Calico: BIRD listens anew only after its last session has gone.

        If both ends of a session connect at the same moment, BIRD 1.6 takes the second connection for a restart of its
        neighbor and starts over, often several times. Calico's mesh avoids that, its other sessions between nodes do
        not: a pace of more than a second does.

        Args:
            keys: keys of etcd v3 with their values.
            secrets: the passwords, by the name of the secret and the key in it.
            pace: seconds between two nodes that are started or reconfigured.
        """
        cluster = Cluster(keys, secrets or {})
        wanted = {
            node["name"]: tuple(node["addresses"])
            for node in cluster.nodes
            if node["addresses"] and node["name"] not in self._without
        }
        for name in [name for name, node in self._nodes.items() if wanted.get(name) != node.addresses]:
            self._nodes.pop(name).stack.close()
        rest = 0.0
        for name, addresses in wanted.items():
            texts = {ip.version: configuration(cluster, keys, name, ip.version) for ip in addresses}
            if name in self._nodes and self._nodes[name].texts == texts:
                continue
            time.sleep(rest)
            rest = pace
            if name in self._nodes:
                _reconfigure(self._nodes[name], texts)
            else:
                self._nodes[name] = self._start(name, addresses, texts)

    def space(self, name: str) -> Namespace:
        """Returns a node's network namespace."""
        return self._nodes[name].space

    def sessions(self, name: str) -> dict[str, str]:
        """Returns the states of a node's BGP sessions, such as `Established`, by their names."""
        rows = (bird.protocols() for bird in self._nodes[name].birds.values())
        return {row.name: row.info.partition(" ")[0] for found in rows for row in found.values() if row.proto == "BGP"}

    def routes(self, name: str) -> set[str]:
        """Returns the routes that a node's BIRDs have written into its kernel, as `ip route` prints them."""
        space = self._nodes[name].space
        rows = [row for family in ("-4", "-6") for row in space.ip(family, "route", "show").splitlines()]
        return {" ".join(row.split()) for row in rows if "proto bird" in row}

    def learned(self, name: str, session: str) -> set[str]:
        """Returns the networks that a node has routes to from one of its sessions, in use or not."""
        (bird,) = (bird for bird in self._nodes[name].birds.values() if session in bird.sessions())
        rows = bird.command(f"show route protocol {session}").splitlines()
        return {row.split()[0] for row in rows if row[:1].isalnum()}

    def wait_established(self, seconds: float = 60.0) -> None:
        """Waits until every session of every node is established.

        Raises:
            TimeoutError: that did not happen in time; the message has the states.
        """
        try:
            wait_until(lambda: not self._pending(), "", seconds)
        except TimeoutError:
            raise TimeoutError(f"sessions not established within {seconds:g} s: {self._pending()}") from None

    def _pending(self) -> dict[str, dict[str, str]]:
        states = {name: self.sessions(name) for name in self._nodes}
        return {name: states for name, states in states.items() if set(states.values()) - {"Established"}}

    def _start(self, name: str, addresses: tuple[Any, ...], texts: dict[int, str]) -> _Node:
        with contextlib.ExitStack() as stack:
            space = stack.enter_context(namespace())
            self._switch.plug(_interface(addresses[0]), space)
            for address in addresses[1:]:
                space.ip("address", "add", _interface(address), "dev", "eth0", "nodad")
            birds = {}
            for family, text in texts.items():
                birds[family] = Bird(self._folder / name, space, _KINDS[family])
                birds[family].config.write_text(text)
                stack.callback(birds[family].stop)
                birds[family].start()
            return _Node(addresses, space, birds, texts, stack.pop_all())

    def _remove_all(self) -> None:
        for node in self._nodes.values():
            node.stack.close()
        self._nodes.clear()


def _interface(address: Any) -> str:
    return f"{address}/{LENGTHS[address.version]}"


def _reconfigure(node: _Node, texts: dict[int, str]) -> None:
    for family, text in texts.items():
        if text != node.texts[family]:
            bird = node.birds[family]
            bird.config.write_text(text)
            reply = bird.command("configure")
            if not re.search(r"^Reconfigur", reply, re.MULTILINE):
                raise RuntimeError(f"{bird.config}: {reply}")
            node.texts[family] = text
