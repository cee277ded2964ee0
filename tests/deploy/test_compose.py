"""compose.yaml is valid, and agrees with rrwatch, the images and the manifests for Kubernetes."""

import re
import subprocess
import sys
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.deploy.manifests import ROOT, containers, documents, require_command, require_settings

FILE = ROOT / "compose.yaml"
SERVICES: dict[str, Any] = documents(FILE)[0]["services"]
HOSTS = ["reflector", "node1", "node2"]


def address(service: str) -> str:
    return str(SERVICES[service]["networks"]["cluster"]["ipv4_address"])


def test_it_is_valid() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_all_images_are_built_from_here() -> None:
    for service in SERVICES.values():
        assert (ROOT / service["build"] / "Dockerfile").is_file()
        assert service["image"].endswith(":compose")


def test_nobody_has_more_rights_than_in_kubernetes() -> None:
    kubernetes = containers("node")["bird"]["securityContext"]["capabilities"]["add"]
    for name, service in SERVICES.items():
        assert "privileged" not in service
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert sorted(service.get("cap_add", [])) == (sorted(kubernetes) if name.endswith("-bird") else [])
        assert "ports" not in service


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_is_a_bird_and_an_rrwatch(host: str) -> None:
    own, bird = SERVICES[host], SERVICES[f"{host}-bird"]
    assert own["network_mode"] == f"service:{host}-bird"
    assert bird["volumes"] == [f"{host}-config:/etc/bird", f"{host}-control:/run/bird"]
    assert own["volumes"] == [*bird["volumes"], f"{host}-state:/var/lib/rrwatch"]
    require_settings(own["environment"])
    assert own["environment"]["ETCD_ENDPOINTS"] == f"http://{address('etcd')}:2379"
    if host == "reflector":
        assert own["environment"]["IP"] == address("reflector-bird")
    else:
        assert (own["environment"]["RRWATCH_ROLE"], own["environment"]["NODENAME"]) == ("node", host)


def test_volumes_and_networks_are_there() -> None:
    (document,) = documents(FILE)
    used = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert used == document["volumes"].keys()
    network = document["networks"]["cluster"]
    assert network["internal"] is True
    addresses = [address(service) for service in ("etcd", *(f"{host}-bird" for host in HOSTS))]
    assert len(set(addresses)) == len(addresses)
    (subnet,) = network["ipam"]["config"]
    assert all(ip_address(one) in ip_network(subnet["subnet"]) for one in addresses)


def test_etcd_says_what_calico_would() -> None:
    (script,) = SERVICES["calico"]["command"]
    found = dict(re.findall(r"^etcdctl set /calico/bgp/v1/host/(\S+)/ip_addr_v4 (\S+)$", script, re.MULTILINE))
    assert found == {host: address(f"{host}-bird") for host in HOSTS if host != "reflector"}
    assert SERVICES["calico"]["environment"]["ETCDCTL_ENDPOINTS"] == f"http://{address('etcd')}:2379"
    assert f"--advertise-client-urls=http://{address('etcd')}:2379" in SERVICES["etcd"]["command"]


def test_the_commands_to_try_are_there() -> None:
    head = FILE.read_text().split("\nname:")[0]
    tried = re.findall(r"docker compose exec (\S+) (.+)", head)
    assert len(tried) >= 4
    for service, command in tried:
        assert service in HOSTS
        program, *words = command.split()
        if program == "rrwatch":
            require_command(words)
        else:
            assert program == "birdc"
    assert f"rr add {address('reflector-bird')} " in head
    assert f"peer add {address('reflector-bird')} as 65100" in head
