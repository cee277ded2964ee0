"""Boots a whole Debian host: a real systemd in namespaces, on a tree of files."""

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from lab.network import Namespace
from lab.process import PATH, Process, captured, program, wait_until

# The disk is an overlay, so that the changes of a host are in a folder of their own.
_MOUNT = """
set -eu
lower=$1 upper=$2 work=$3 root=$4
shift 4
mount --make-rprivate /
mount -t overlay -o "lowerdir=$lower,upperdir=$upper,workdir=$work" overlay "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o mode=755,nosuid tmpfs "$root/run"
mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
"""

# systemd as PID 1 of its own namespaces. All of the host's processes and mounts end with it.
_BOOT = f"""{_MOUNT}
mount -t sysfs -o nosuid,nodev,noexec sysfs "$root/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
echo reflector >"$root/etc/hostname"
cd "$root"
pivot_root . .
umount -l .
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=journal
"""

_CHROOT = f"""{_MOUNT}
exec chroot "$root" "$@"
"""

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "SYSTEMD_PAGER": "cat",
}


class Host:
    """A Debian host. It can be booted again on the same disk."""

    def __init__(self, folder: Path, space: Namespace, layers: Sequence[Path]) -> None:
        """Prepares its disk; `boot()` starts it.

        Args:
            folder: for its changes of the disk, and for its log.
            space: its network namespace.
            layers: the initial content of its disk, topmost layer first: disks of hosts that are off, and the tree
                that `scripts/host-tree` made.
        """
        self._space, self._layers = space, layers
        self.disk, self._work, self._root = folder / "disk", folder / "work", folder / "root"
        for made in self.disk, self._work, self._root:
            made.mkdir(parents=True)
            made.chmod(0o755)
        self._log = folder / "console.log"
        self._cgroup = _cgroups() / f"rrwatch-{space.name}"
        self._process: Process | None = None
        self._init = 0

    def boot(self) -> "Host":
        """Boots it, and waits until systemd has finished the boot."""
        self._cgroup.mkdir()
        enter = f'echo $$ >"{self._cgroup}/cgroup.procs"; exec "$@"'
        spaces = ["--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "--cgroup"]
        command = ["sh", "-c", enter, "sh", program("unshare"), *spaces, "sh", "-c", _BOOT, "sh", *self._mounts()]
        self._process = Process(command, self._log, self._space.name, {"PATH": PATH})
        self._init = wait_until(self._find_init, "systemd started")
        wait_until(lambda: self.try_run("test", "-S", "/run/systemd/private").returncode == 0, "systemd answers")
        self.try_run("systemctl", "is-system-running", "--wait", timeout=60)
        return self

    def power_off(self) -> None:
        """Shuts it down; its disk stays."""
        if self._process:
            self.try_run("systemctl", "poweroff", "--no-block")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
        self.cut_power()

    def cut_power(self) -> None:
        """Ends it at once, in whatever state it is; its disk stays."""
        if self._process:
            self._process.kill()
            self._process = None
        if self._cgroup.exists():
            wait_until(self._is_cgroup_removed, "all processes of the host have ended")

    def try_run(
        self, *command: str, timeout: float = 30, stdin: IO[bytes] | int = subprocess.DEVNULL
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on it as root, and returns its exit status and output."""
        enter = [
            program("nsenter"),
            "--target",
            str(self._init),
            "--root",
            "--mount",
            "--pid",
            "--ipc",
            "--uts",
            "--net",
        ]
        return _run([*enter, "--cgroup", "--", "env", "--chdir=/", *command], timeout, stdin)

    def run(self, *command: str, timeout: float = 30) -> str:
        """Runs a command on it as root, and returns its output.

        Raises:
            RuntimeError: the command failed.
        """
        return _successful(self.try_run(*command, timeout=timeout))

    def run_unbooted(self, *command: str, timeout: float = 60) -> str:
        """Runs a command in a chroot on the disk of a host that is off, and returns its output.

        Raises:
            RuntimeError: the command failed.
        """
        spaces = ["--mount", "--pid", "--fork", "--kill-child"]
        unshare = [program("unshare"), *spaces, "sh", "-c", _CHROOT, "sh", *self._mounts()]
        return _successful(_run([*unshare, "env", "--chdir=/", *command], timeout, subprocess.DEVNULL))

    def write(self, path: str, content: str | bytes) -> None:
        """Writes a file on it."""
        with tempfile.TemporaryFile() as source:
            source.write(content.encode() if isinstance(content, str) else content)
            source.seek(0)
            _successful(self.try_run("sh", "-c", 'cat >"$0"', path, stdin=source))

    def _mounts(self) -> list[str]:
        lower = ":".join(str(layer) for layer in self._layers)
        return [lower, str(self.disk), str(self._work), str(self._root)]

    def _find_init(self) -> int:
        assert self._process
        if not self._process.is_running():
            raise RuntimeError(f"the host did not start: {self._log.read_text(errors='replace')}")
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n":
            return int(children[0])
        return 0

    def _is_cgroup_removed(self) -> bool:
        # Its processes ended with its PID 1, so its control groups are empty.
        folders = sorted((path for path in self._cgroup.rglob("*") if path.is_dir()), reverse=True)
        try:
            for folder in [*folders, self._cgroup]:
                folder.rmdir()
        except OSError:
            return False
        return True


def _run(command: Sequence[str], timeout: float, stdin: IO[bytes] | int) -> subprocess.CompletedProcess[str]:
    return captured(command, timeout, stdin=stdin, environment=_ENVIRONMENT)


def _successful(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        words = " ".join(str(word) for word in done.args)
        raise RuntimeError(f"status {done.returncode} of {words[-200:]}:\n{done.stdout}")
    return done.stdout


def _cgroups() -> Path:
    mounts = re.findall(r"^\S+ (\S+) cgroup2 ", Path("/proc/mounts").read_text(), re.MULTILINE)
    if not mounts:
        raise RuntimeError("no cgroup2 hierarchy is mounted")
    return Path(mounts[0])
