"""Builds images with `buildah`, without Docker and without a registry."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.process import program

ROOT = Path(__file__).parent.parent.parent.parent

_BUILD_TIMEOUT = 300.0  # seconds


@dataclass(frozen=True, slots=True)
class Image:
    """One image, and a read-only view of its files.

    Attributes:
        rootfs: the directory of its files, which containers mount read-only.
        config: what the Dockerfile says of user, entry point, environment... (OCI image specification, "config").
    """

    rootfs: Path
    config: dict[str, Any]
    labels: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that it sets."""
        return dict(entry.split("=", 1) for entry in self.config.get("Env") or [])


class Builder:
    """Builds images in one folder."""

    def __init__(self, folder: Path) -> None:
        """Prepares the folder.

        Args:
            folder: for images and working containers.
        """
        self._storage = [
            "--root", str(folder / "images"), "--runroot", str(folder / "run"), "--storage-driver", "vfs",
        ]  # fmt: skip

    def base(self, tree: Path) -> str:
        """Makes an image of a Debian in a folder, and returns its name."""
        container = self._run("from", "scratch")
        mounted = self._run("mount", container)
        # The packages that apt downloaded are of no use in an image.
        copied = f"tar -C {tree} --exclude=./var/cache/apt/archives/*.deb -c . | tar -C {mounted} -x"
        subprocess.run(["sh", "-ec", copied], check=True, timeout=_BUILD_TIMEOUT)
        self._run("commit", "-q", container, "base")
        self._run("rm", container)
        return "localhost/base"

    def build(self, name: str, context: Path, base: str, secrets: dict[str, str], **arguments: str) -> Image:
        """Builds an image from a folder with a Dockerfile, and returns it.

        Args:
            base: the base image.
            secrets: files by their ids.
            arguments: build arguments by name.
        """
        options = [f"--build-arg={key}={value}" for key, value in {"BASE": base, **arguments}.items()]
        options += [f"--secret=id={key},src={path}" for key, path in secrets.items()]
        # Docker's format has health checks.
        self._run("bud", "-q", "--isolation=chroot", "--format=docker", *options, "-t", name, str(context))
        container = self._run("from", name)
        docker = json.loads(self._run("inspect", "--type=image", name))["Docker"]
        return Image(Path(self._run("mount", container)), docker["config"], docker["config"].get("Labels") or {})

    def remove(self) -> None:
        """Removes all containers and images."""
        self._run("umount", "--all")
        self._run("rm", "--all")
        self._run("rmi", "--all", "--force")

    def _run(self, command: str, *arguments: str) -> str:
        done = subprocess.run(
            [program("buildah"), *self._storage, command, *arguments],
            capture_output=True,
            text=True,
            timeout=_BUILD_TIMEOUT,
            check=False,
            env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
        )
        if done.returncode:
            raise RuntimeError(f"buildah {command} {' '.join(arguments)}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done.stdout.strip()
