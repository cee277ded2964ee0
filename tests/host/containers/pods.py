"""Runs pods without a cluster: does what a kubelet does with a manifest, with the OCI runtime `crun`.

Users, groups, capabilities, read-only roots, mounts, commands and variables are those of the manifest and of the
images. There are no control groups, so limits of resources do not count, and no seccomp filter.
"""

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.network import Namespace
from lab.process import Process, captured, program, wait_until
from tests.host.containers.images import Image

_STATE = Path(f"/run/rrwatch-pods-{os.getpid()}")

_TIMEOUT = 60.0  # seconds for a container that ends by itself


class Container:
    """One container of a pod, which can be stopped and started again, as a kubelet does."""

    def __init__(self, name: str, bundle: Path, config: Mapping[str, Any]) -> None:
        """Writes its bundle; `start()` starts it.

        Args:
            bundle: a folder of its own.
            config: its `config.json` (OCI runtime specification).
        """
        (bundle / "config.json").write_text(json.dumps(config))
        self._id, self._bundle = f"{name}-{os.getpid()}-{bundle.parent.name}", bundle
        self.log = bundle / "log"
        self._process: Process | None = None

    def start(self) -> "Container":
        """Starts it, and waits until its program runs or has ended."""
        self._process = Process(_crun("run", "--bundle", str(self._bundle), self._id), self.log)
        wait_until(lambda: not self.is_running or self._state().get("status") == "running", f"{self._id} runs")
        return self

    def run(self) -> tuple[int, str]:
        """Runs it to its end, and returns exit status and output."""
        self.start()
        return self.wait(), self.output()

    @property
    def is_running(self) -> bool:
        """Returns whether it is still running."""
        return self._process is not None and self._process.is_running()

    def wait(self, seconds: float = _TIMEOUT) -> int:
        """Waits for its end, and returns its exit status."""
        assert self._process
        status = self._process.wait(seconds)
        self._process = None
        return status

    def output(self) -> str:
        """Returns its output."""
        return self.log.read_text(errors="replace")

    def execute(self, *command: str, seconds: float = 30.0) -> tuple[int, str]:
        """Runs a command in it as `kubectl exec` and probes do, and returns exit status and output."""
        # Like container runtimes for a kubelet, use the user, groups and capabilities of the container.
        process = json.loads((self._bundle / "config.json").read_text())["process"]
        with tempfile.NamedTemporaryFile("w", suffix=".json", dir=self._bundle) as file:
            json.dump({**process, "args": list(command)}, file)
            file.flush()
            done = captured(_crun("exec", "--process", file.name, self._id), seconds)
        return done.returncode, done.stdout

    def pid(self) -> int:
        """Returns the process id of its first process on the host."""
        return int(self._state()["pid"])

    def _state(self) -> dict[str, Any]:
        done = subprocess.run(_crun("state", self._id), capture_output=True, timeout=10, check=False)
        state: dict[str, Any] = json.loads(done.stdout or "{}")
        return state

    def signal(self, name: str) -> None:
        """Sends a signal to its first process."""
        subprocess.run(_crun("kill", self._id, name), capture_output=True, timeout=10, check=False)

    def stop(self) -> None:
        """Stops it as a kubelet does: with SIGTERM, and with SIGKILL after a while."""
        if not self._process:
            return
        self.signal("TERM")
        try:
            self.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kills it."""
        if self._process:
            self.signal("KILL")
            self.wait(10)

    def remove(self) -> None:
        """Kills it, and removes the state that the runtime keeps."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.kill()
        subprocess.run(_crun("delete", "--force", self._id), capture_output=True, timeout=20, check=False)


class Pod:
    """One pod of a manifest on a host."""

    def __init__(
        self,
        template: Mapping[str, Any],
        images: Mapping[str, Image],
        host: Namespace,
        folder: Path,
        settings: Mapping[str, str],
        fields: Mapping[str, str],
    ) -> None:
        """Prepares its containers without starting them.

        Args:
            template: the `spec` of the pod.
            images: the images by the names in the manifest.
            host: the host's network namespace.
            folder: stands for the host's root folder in `hostPath`.
            settings: the content of the config map, whatever its name is.
            fields: what `fieldRef` refers to.
        """
        self.spec, self._images, self._host, self._folder = template, images, host, folder
        self._settings, self._fields = settings, fields
        # Each pod has folders of its own.
        self._own = Path(tempfile.mkdtemp(prefix="pod-", dir=folder))
        self._volumes = {volume["name"]: self._volume(volume) for volume in template["volumes"]}
        self._started: list[Container] = []
        self.init = [self._container(spec) for spec in template["initContainers"]]
        self.containers = {spec["name"]: self._container(spec) for spec in template["containers"]}

    def initialize(self) -> dict[str, tuple[int, str]]:
        """Runs the init containers in order, and returns exit status and output of each by name.

        Raises:
            RuntimeError: one of them failed.
        """
        done = {}
        for spec, container in zip(self.spec["initContainers"], self.init, strict=True):
            status, output = done[spec["name"]] = container.run()
            if status:
                raise RuntimeError(f"init container {spec['name']} ended with {status}: {output}")
        return done

    def start(self, *names: str) -> "Pod":
        """Runs the init containers, and starts the others in the given order."""
        self.initialize()
        for name in names:
            self.containers[name].start()
        return self

    def probe(self, kind: str, name: str) -> tuple[int, str]:
        """Runs a probe of one container once, and returns exit status and output."""
        spec = next(spec for spec in self.spec["containers"] if spec["name"] == name)
        probe = spec[kind]
        return self.containers[name].execute(*probe["exec"]["command"], seconds=probe["timeoutSeconds"])

    def passes(self, kind: str, name: str) -> bool:
        """Returns whether a container passes a probe."""
        return self.containers[name].is_running and self.probe(kind, name)[0] == 0

    def wait_until_ready(self, seconds: float = 30.0) -> None:
        """Waits until all containers run and pass all probes."""

        def ready() -> bool:
            return all(
                self.passes(kind, spec["name"])
                for spec in self.spec["containers"]
                for kind in ("livenessProbe", "readinessProbe")
                if kind in spec
            )

        try:
            wait_until(ready, "the pod is ready", seconds)
        except TimeoutError as error:
            logs = "\n".join(f"--- {name}\n{one.output()}" for name, one in self.containers.items() if one.log.exists())
            raise TimeoutError(f"{error}\n{self.probe('readinessProbe', 'rrwatch')}\n{logs}") from None

    def delete(self) -> None:
        """Deletes it as a cluster does: first the hooks, then SIGTERM."""
        for spec in self.spec["containers"]:
            container = self.containers[spec["name"]]
            hook = spec.get("lifecycle", {}).get("preStop")
            if hook and container.is_running:
                container.execute(*hook["exec"]["command"])
            container.stop()

    def remove(self) -> None:
        """Removes whatever is still running."""
        for container in self._started:
            container.remove()

    def mounted(self, volume: str) -> Path:
        """Returns the folder of a volume on the host."""
        return self._volumes[volume]

    def _volume(self, volume: Mapping[str, Any]) -> Path:
        match volume:
            case {"hostPath": {"path": str(path), "type": "DirectoryOrCreate"}}:
                folder = self._folder / path.lstrip("/")
                folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            case {"emptyDir": _} | {"secret": {"optional": True}}:
                folder = self._own / volume["name"]
                folder.mkdir()
                os.chown(folder, 0, self.spec["securityContext"]["fsGroup"])
                folder.chmod(0o2777)
            case _:
                raise ValueError(f"this kind of volume cannot be mounted here: {volume}")
        return folder

    def _container(self, spec: Mapping[str, Any]) -> Container:
        image, security = self._images[spec["image"]], spec["securityContext"]
        if security.get("runAsNonRoot"):
            assert security["runAsUser"] != 0
        capabilities = [f"CAP_{name}" for name in security["capabilities"].get("add", [])]
        assert security["capabilities"]["drop"] == ["ALL"]
        arguments = [*spec.get("command", image.config["Entrypoint"])]
        arguments += spec.get("args", [] if "command" in spec else image.config["Cmd"])
        mounts = [
            mount(each["mountPath"], self._volumes[each["name"]], read_only=each.get("readOnly", False))
            for each in spec["volumeMounts"]
        ]
        bundle = self._own / spec["name"]
        bundle.mkdir()
        config = configuration(
            image,
            arguments,
            environment=self._environment(spec),
            user=(security["runAsUser"], security["runAsGroup"], [self.spec["securityContext"]["fsGroup"]]),
            capabilities=capabilities,
            read_only=security["readOnlyRootFilesystem"],
            new_privileges=security["allowPrivilegeEscalation"],
            mounts=mounts,
            network=self._host,
        )
        container = Container(spec["name"], bundle, config)
        self._started.append(container)
        return container

    def _environment(self, spec: Mapping[str, Any]) -> dict[str, str]:
        values: dict[str, str] = {}
        for _ in spec.get("envFrom", []):
            values |= self._settings
        for entry in spec.get("env", []):
            values[entry["name"]] = (
                entry["value"] if "value" in entry else self._fields[entry["valueFrom"]["fieldRef"]["fieldPath"]]
            )
        return values


def configuration(
    image: Image,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    user: tuple[int, int, list[int]],
    capabilities: Sequence[str],
    read_only: bool,
    new_privileges: bool,
    mounts: Sequence[Mapping[str, Any]],
    network: Namespace,
) -> dict[str, Any]:
    """Returns the `config.json` of a container (OCI runtime specification).

    Args:
        user: user, group, and further groups.
    """
    uid, gid, groups = user
    # Only root has capabilities when a program is started; others may get them back as long as they are bounding.
    own = list(capabilities) if uid == 0 else []
    shared = {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev"]}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": uid, "gid": gid, "additionalGids": groups},
            "args": list(arguments),
            "env": [f"{name}={value}" for name, value in {**image.environment, **environment}.items()],
            "cwd": image.config.get("WorkingDir") or "/",
            "noNewPrivileges": not new_privileges,
            "capabilities": {"bounding": list(capabilities), "effective": own, "permitted": own},
        },
        "root": {"path": str(image.rootfs), "readonly": read_only},
        "hostname": "container",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            shared,
            # The caller of a runtime provides it.
            mount("/etc/hosts", Path("/etc/hosts"), read_only=True),
            *mounts,
        ],
        "linux": {
            "namespaces": [
                *({"type": kind} for kind in ("pid", "mount", "ipc", "uts")),
                {"type": "network", "path": f"/run/netns/{network.name}"},
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


def mount(destination: str, source: Path, *, read_only: bool = False) -> dict[str, Any]:
    """Returns the mount of a folder of the host (OCI runtime specification, "mounts")."""
    options = ["rbind", "ro" if read_only else "rw"]
    return {"destination": destination, "type": "bind", "source": str(source), "options": options}


def _crun(command: str, *arguments: str) -> list[str]:
    runtime = ["crun", f"--root={_STATE}", "--cgroup-manager=disabled", command, *arguments]
    if not Path("/sys/fs/cgroup/unified/cgroup.procs").exists():
        return runtime
    # crun refuses hosts with both versions of control groups; it needs none here.
    hidden = 'umount /sys/fs/cgroup/unified && exec "$@"'
    return [program("unshare"), "--mount", program("sh"), "-ec", hidden, "sh", *runtime]


@contextlib.contextmanager
def runtime() -> Iterator[None]:
    """Provides a folder for the runtime's state, and removes it with all containers that are left."""
    _STATE.mkdir(exist_ok=True)
    try:
        yield
    finally:
        for left in _STATE.iterdir():
            subprocess.run(_crun("delete", "--force", left.name), capture_output=True, timeout=20, check=False)
        with contextlib.suppress(OSError):
            _STATE.rmdir()
