"""The manifests for Kubernetes are valid and complete, and agree with rrwatch and the images."""

import os
import re
import subprocess
from pathlib import Path, PurePosixPath

import kubernetes_validate
import pytest
import yaml

import rrwatch
from rrwatch.settings.table import SETTINGS
from tests.deploy.manifests import (
    KUBERNETES,
    ROOT,
    commands_of,
    config_map,
    config_map_with_tls,
    containers,
    documents,
    instructions,
    pod,
    require_command,
    require_settings,
    workload,
)

ROLES = ["node", "reflector"]
FILES = sorted(KUBERNETES.glob("*.yaml"))
GROUP = 10179

DEFAULTS = {setting.name: setting.default for setting in SETTINGS}


@pytest.mark.parametrize("version", ["1.28", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("file", [file.name for file in FILES if file.name != "kustomization.yaml"])
def test_manifests_are_valid(file: str, version: str) -> None:
    for document in documents(KUBERNETES / file):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_kustomization_has_all_manifests_and_all_images() -> None:
    (document,) = documents(KUBERNETES / "kustomization.yaml")
    assert sorted(document["resources"]) == [file.name for file in FILES if file.name != "kustomization.yaml"]
    images = {image["name"]: image["newTag"] for image in document["images"]}
    assert images == dict.fromkeys(["rrwatch", "rrwatch-bird"], rrwatch.__version__)
    for role in ROLES:
        assert {container["image"] for container in containers(role).values()} == images.keys()


@pytest.mark.parametrize("role", ROLES)
def test_rrwatch_is_started_and_asked_with_commands_that_it_has(role: str) -> None:
    entry, default = (dict(instructions(ROOT / "Dockerfile"))[name] for name in ("ENTRYPOINT", "CMD"))
    assert (entry, default) == ('["rrwatch"]', '["run"]')
    found = set()
    for container in containers(role).values():
        for command in commands_of(container):
            for words in re.findall(r"\brrwatch((?: --?[a-z]+(?: [0-9]+)?| [a-z]+)+)", " ".join(command)):
                if "with status" not in words:
                    require_command(words.split())
                    found.add(words.strip())
    assert found == {"once --timeout 15", "status --health", "status"}


@pytest.mark.parametrize("role", ROLES)
def test_variables_are_settings(role: str) -> None:
    there = containers(role)
    fields = {"spec.nodeName": "kube-node1", "status.hostIP": "172.17.42.40"}
    for name in "once", "rrwatch":
        assert there[name]["envFrom"] == [
            {"configMapRef": {"name": documents(KUBERNETES / "config.yaml")[0]["metadata"]["name"]}}
        ]
        values = {
            entry["name"]: entry.get("value") or fields[entry["valueFrom"]["fieldRef"]["fieldPath"]]
            for entry in there[name]["env"]
        }
        require_settings({**config_map(), **values})
        require_settings({**config_map_with_tls(), **values, "ETCD_PASSWORD": "x"}, files=False)
    assert there["once"]["env"] == there["rrwatch"]["env"]
    assert "env" not in there["bird"]


@pytest.mark.parametrize("role", ROLES)
def test_files_of_the_secret_are_where_it_is_mounted(role: str) -> None:
    mounts = {mount["name"]: mount for mount in containers(role)["rrwatch"]["volumeMounts"]}
    assert mounts["etcd"]["readOnly"]
    files = [value for variable, value in config_map_with_tls().items() if variable.endswith("_FILE")]
    assert len(files) == 4
    for file in files:
        assert str(PurePosixPath(file).parent) == mounts["etcd"]["mountPath"]


@pytest.mark.parametrize("role", ROLES)
def test_volumes_are_shared_under_one_path(role: str) -> None:
    paths: dict[str, set[str]] = {volume["name"]: set() for volume in pod(role)["volumes"]}
    for container in containers(role).values():
        for mount in container["volumeMounts"]:
            paths[mount["name"]].add(mount["mountPath"])
            assert "subPath" not in mount, "BIRD would not see a rename"
    assert DEFAULTS["config"]
    assert DEFAULTS["bird_socket"]
    assert paths == {
        "config": {str(Path(DEFAULTS["config"]).parent)},
        "control": {str(Path(DEFAULTS["bird_socket"]).parent)},
        "state": {DEFAULTS["state_dir"]},
        "etcd": {"/etc/rrwatch/etcd"},
    }
    mounted = {name: {mount["name"] for mount in one["volumeMounts"]} for name, one in containers(role).items()}
    assert mounted["bird"] == {"config", "control"}
    assert mounted["once"] == mounted["rrwatch"] == paths.keys()


@pytest.mark.parametrize("role", ROLES)
def test_what_must_outlive_a_pod_is_the_hosts(role: str) -> None:
    volumes = {volume["name"]: volume for volume in pod(role)["volumes"]}
    for name in "config", "state":
        assert volumes[name]["hostPath"] == {"path": f"/var/lib/rrwatch/{role}/{name}", "type": "DirectoryOrCreate"}
    rights = containers(role)["rights"]
    assert rights["command"][:7] == ["install", "-d", "-m", "2770", "-o", str(GROUP), "-g"]
    assert rights["command"][7] == str(GROUP)
    mounts = {mount["mountPath"]: mount["name"] for mount in rights["volumeMounts"]}
    assert [mounts[path] for path in rights["command"][8:]] == ["config", "state"]
    assert next(iter(containers(role))) == "rights"


@pytest.mark.parametrize("role", ROLES)
def test_users_and_groups_are_those_of_the_images(role: str) -> None:
    there = containers(role)
    assert pod(role)["securityContext"]["fsGroup"] == GROUP
    assert dict(instructions(ROOT / "Dockerfile"))["USER"] == f"{GROUP}:{GROUP}"
    for name in "once", "rrwatch":
        security = there[name]["securityContext"]
        assert (security["runAsUser"], security["runAsGroup"]) == (GROUP, GROUP)
        assert security["runAsNonRoot"]
    assert dict(instructions(ROOT / "deploy/bird/Dockerfile"))["USER"] == f"0:{GROUP}"
    assert f"groupadd --gid {GROUP} rrwatch" in (ROOT / "deploy/bird/Dockerfile").read_text()
    security = there["bird"]["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"]) == (0, GROUP)


def test_bird_has_the_capabilities_that_its_entry_point_needs_and_nobody_else_any() -> None:
    script = (ROOT / "deploy/bird/start-bird").read_text()
    needed = re.search(r"^ *needed=(\S+)$", script, re.MULTILINE)
    assert needed
    kept = {name.removeprefix("+").upper() for name in needed[1].split(",")}
    assert "setpriv --reuid bird --regid rrwatch" in script
    for role in ROLES:
        for name, container in containers(role).items():
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert "privileged" not in security
            assert security["capabilities"]["drop"] == ["ALL"]
            added = set(security["capabilities"].get("add", []))
            assert added == {"bird": kept | {"SETUID", "SETGID"}, "rights": {"CHOWN", "FOWNER"}}.get(name, set())


@pytest.mark.parametrize("role", ROLES)
def test_the_pod_belongs_to_its_host(role: str) -> None:
    spec = pod(role)
    assert spec["hostNetwork"] is True
    assert spec["dnsPolicy"] == "Default"
    assert spec["priorityClassName"] == "system-node-critical"
    assert workload(role)["metadata"]["namespace"] == "kube-system"
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert set(spec) >= {"terminationGracePeriodSeconds", "tolerations"}
    for container in containers(role).values():
        assert container.get("ports") is None
    for name in "once", "rrwatch":
        limit = containers(role)[name]["resources"]["limits"]["memory"]
        assert limit == "256Mi"
        assert "cpu" not in containers(role)[name]["resources"]["limits"]
    # It would end all sessions.
    assert "limits" not in containers(role)["bird"]["resources"]


@pytest.mark.parametrize("role", ROLES)
def test_there_is_time_for_a_graceful_end(role: str) -> None:
    bird = containers(role)["bird"]
    _, seconds, *command = bird["lifecycle"]["preStop"]["exec"]["command"]
    assert command == ["birdc", "graceful", "restart"]
    assert pod(role)["terminationGracePeriodSeconds"] >= int(seconds) + 10
    live = bird["livenessProbe"]
    # BIRD was seen busy for 10 s.
    assert live["timeoutSeconds"] >= 20
    assert live["periodSeconds"] * live["failureThreshold"] >= 120


@pytest.mark.parametrize("role", ROLES)
def test_probes_have_longer_than_the_command_may_take(role: str) -> None:
    there = containers(role)["rrwatch"]
    assert there["livenessProbe"]["exec"]["command"] == ["rrwatch", "status", "--health"]
    assert there["readinessProbe"]["exec"]["command"] == ["rrwatch", "status"]
    for kind in "livenessProbe", "readinessProbe":
        assert there[kind]["timeoutSeconds"] >= 10
        assert there[kind]["periodSeconds"] >= there[kind]["timeoutSeconds"]


def test_both_roles_are_the_same_but_for_what_makes_a_role() -> None:
    def common(role: str) -> str:
        spec = pod(role)
        for container in (*spec["initContainers"], *spec["containers"]):
            container["env"] = [
                entry for entry in container.get("env", []) if entry["name"] not in {"RRWATCH_ROLE", "NODENAME", "IP"}
            ]
        del spec["tolerations"], spec["affinity"]
        spec.pop("nodeSelector", None)
        return yaml.safe_dump(spec).replace(f"/{role}/", "/ROLE/")

    assert common("node") == common("reflector")


def test_one_after_the_other() -> None:
    update = workload("node")["spec"]["updateStrategy"]
    assert update == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}
    strategy = workload("reflector")["spec"]["strategy"]
    # With hostNetwork a second pod would find port 179 in use.
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    for role in ROLES:
        assert workload(role)["spec"]["minReadySeconds"] >= 10


def test_every_host_has_one_of_them() -> None:
    assert pod("node")["tolerations"] == [{"operator": "Exists"}]
    (label, value), *more = pod("reflector")["nodeSelector"].items()
    assert not more
    (term,) = pod("node")["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert {"key": label, "operator": "DoesNotExist"} in term["matchExpressions"]
    assert f"kubectl label node NAME {label}={value}" in (KUBERNETES / "reflector.yaml").read_text()
    (apart,) = pod("reflector")["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart["topologyKey"] == "kubernetes.io/hostname"
    assert apart["labelSelector"] == workload("reflector")["spec"]["selector"]
    # A host that is drained must not get the next pod.
    for toleration in pod("reflector")["tolerations"]:
        assert toleration.get("key") or toleration["effect"] == "NoExecute"
        assert toleration.get("key") != "node.kubernetes.io/unschedulable"


def test_selectors_find_the_pods() -> None:
    for role in ROLES:
        spec = workload(role)["spec"]
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"]["app.kubernetes.io/component"] == role
    _, budget = documents(KUBERNETES / "reflector.yaml")
    assert budget["spec"]["selector"] == workload("reflector")["spec"]["selector"]
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["metadata"]["namespace"] == workload("reflector")["metadata"]["namespace"]


@pytest.mark.parametrize("status", [0, 1, 2, 3, 4])
def test_the_first_pass_keeps_no_pod_from_starting(status: int, tmp_path: Path) -> None:
    stub = tmp_path / "rrwatch"
    stub.write_text(f"#!/bin/sh\nexit {status}\n")
    stub.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for role in ROLES:
        (command, *_) = commands_of(containers(role)["once"])
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=False)
        told = f"rrwatch once ended with status {status}: BIRD starts with the configuration that is there\n"
        assert (done.returncode, done.stderr) == (0, told if status else "")
