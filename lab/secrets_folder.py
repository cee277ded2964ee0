"""A directory with Secrets as Kubernetes mounts them, whose values can be changed and unmounted."""

import shutil
from collections.abc import Mapping
from pathlib import Path


class SecretsFolder:
    """A directory with a directory for each Secret, in the layout of a Secret volume."""

    def __init__(self, path: Path) -> None:
        """Creates it, empty."""
        self.path, self._version = path, 0
        path.mkdir()

    def mount(self, secret: str, values: Mapping[str, str | bytes]) -> None:
        """Gives a Secret new values in one step, as Kubernetes' AtomicWriter does: a symbolic link is replaced."""
        self._version += 1
        folder = self.path / secret
        target = folder / f"..2026_11_24.{self._version}"
        target.mkdir(parents=True)
        for key, value in values.items():
            (target / key).write_bytes(value.encode() if isinstance(value, str) else value)
            (target / key).chmod(0o640)
        temporary, data = folder / "..data_tmp", folder / "..data"
        before = data.readlink() if data.is_symlink() else None
        temporary.symlink_to(target.name)
        temporary.replace(data)
        for key in values:
            if not (folder / key).is_symlink():
                (folder / key).symlink_to(f"..data/{key}")
        if before:
            shutil.rmtree(folder / before)

    def unmount(self) -> None:
        """Leaves an empty directory, as a volume that is not mounted."""
        for path in self.path.iterdir():
            shutil.rmtree(path)
