"""Runs the services of compose.yaml without Docker, each in its network and with its volumes."""

import contextlib
import os
from pathlib import Path
from typing import Any

import yaml

from lab.network import Namespace, Switch
from tests.host.containers.images import ROOT, Image
from tests.host.containers.pods import Container, configuration, mount, runtime

FILE = ROOT / "compose.yaml"


class Project:
    """Does what Docker Compose does with the file, with the OCI runtime."""

    def __init__(self, folder: Path, images: dict[str, Image], stack: contextlib.ExitStack) -> None:
        """Prepares all services without starting them.

        Args:
            images: the images by the folder that they are built from.
            stack: removes everything when it is closed.
        """
        stack.enter_context(runtime())
        self._services: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
        self._folder, self._images = folder, images
        switch = Switch(stack)
        dynamic = iter(range(2, 9))
        spaces: dict[str, Namespace] = {}
        for name, service in self._services.items():
            if networks := service.get("networks"):
                fixed = networks["cluster"]["ipv4_address"] if isinstance(networks, dict) else None
                spaces[name] = switch.plug(f"{fixed or f'172.30.0.{next(dynamic)}'}/24")
        for name, service in self._services.items():
            if mode := service.get("network_mode"):
                spaces[name] = spaces[mode.removeprefix("service:")]
        self.containers = {name: self._container(name, spaces[name]) for name in self._services}
        for container in self.containers.values():
            stack.callback(container.remove)

    def _container(self, name: str, network: Namespace) -> Container:
        service = self._services[name]
        image = self._images[service["build"]]
        uid, gid = map(int, image.config["User"].split(":"))
        mounts = []
        for entry in service.get("volumes", []):
            volume, path = entry.split(":")
            mounts.append(mount(path, self._volume(volume, image.rootfs / path.lstrip("/"))))
        bundle = self._folder / name
        bundle.mkdir()
        config = configuration(
            image,
            [
                *service.get("entrypoint", image.config["Entrypoint"]),
                *service.get("command", image.config["Cmd"] or []),
            ],
            environment=service.get("environment", {}),
            user=(uid, gid, []),
            capabilities=[f"CAP_{capability}" for capability in service.get("cap_add", [])],
            read_only=service["read_only"],
            new_privileges=False,
            mounts=mounts,
            network=network,
        )
        return Container(name, bundle, config)

    def _volume(self, name: str, below: Path) -> Path:
        """Returns a named volume; a new one gets the permissions of the folder that it is mounted over."""
        folder = self._folder / "volumes" / name
        if not folder.exists():
            folder.mkdir(parents=True)
            like = below.stat()
            os.chown(folder, like.st_uid, like.st_gid)
            folder.chmod(like.st_mode & 0o7777)
        return folder

    def execute(self, command: str) -> str:
        """Runs a command as `docker compose exec` does, and returns its output.

        Raises:
            AssertionError: the command failed.
        """
        service, *words = command.split()
        status, output = self.containers[service].execute(*words)
        assert status == 0, f"{command}: {output}"
        return output
