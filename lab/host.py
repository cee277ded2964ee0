"""A whole Debian host: a real systemd, booted in namespaces on a fresh tree of files."""

import contextlib
import re
import signal
import subprocess
from pathlib import Path

from lab.network import Namespace
from lab.process import PATH, Process, program, wait_until

# systemd in a container of its own: an overlay on the tree, a new /proc, /sys and /run, and devices without hardware.
# It ends with the process that runs this; with it end all of the host's processes, and its mounts.
_BOOT = """
set -eu
tree=$1 upper=$2 work=$3 root=$4
mount --make-rprivate /
mount -t overlay -o "lowerdir=$tree,upperdir=$upper,workdir=$work" overlay "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o nosuid,nodev,noexec sysfs "$root/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755,nosuid tmpfs "$root/run"
mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
echo reflector >"$root/etc/hostname"
cd "$root"
pivot_root . .
umount -l .
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=journal
"""


class Host:
    """A Debian that boots, and boots again on the same disk."""

    def __init__(self, folder: Path, space: Namespace, tree: Path) -> None:
        """Lays out its disk; `boot()` switches it on.

        Args:
            folder: for what it changes of the tree, and for its log.
            space: its network.
            tree: what `scripts/host-tree` made.
        """
        self._space, self._tree = space, tree
        self._upper, self._work, self._root = folder / "upper", folder / "work", folder / "root"
        for made in self._upper, self._work, self._root:
            made.mkdir(parents=True)
            made.chmod(0o755)
        self._log = folder / "console.log"
        self._cgroup = _cgroups() / f"rrwatch-{space.name}"
        self._process: Process | None = None
        self._init = 0

    def boot(self) -> "Host":
        """Switches it on, and waits until systemd has started all that it starts."""
        self._cgroup.mkdir()
        enter = f'echo $$ >"{self._cgroup}/cgroup.procs"; exec "$@"'
        spaces = ["--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "--cgroup"]
        self._process = Process(
            ["sh", "-c", enter, "sh", program("unshare"), *spaces, "sh", "-c", _BOOT, "sh",
             *map(str, (self._tree, self._upper, self._work, self._root))],
            self._log,
            self._space.name,
            {"PATH": PATH},
        )  # fmt: skip
        self._init = wait_until(self._find_init, "systemd started")
        wait_until(lambda: self.try_run("test", "-S", "/run/systemd/private").returncode == 0, "systemd answers")
        self.try_run("systemctl", "is-system-running", "--wait", timeout=60)
        return self

    def power_off(self) -> None:
        """Shuts it down in order; what is on its disk stays."""
        if self._process:
            self.try_run("systemctl", "poweroff", "--no-block")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
        self.cut_power()

    def cut_power(self) -> None:
        """Ends it at once, whatever state it is in."""
        if self._process:
            self._process.kill()
            self._process = None
        if self._cgroup.exists():
            wait_until(self._is_cgroup_removed, "all processes of the host have ended")

    def try_run(self, *command: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Runs a command on it, as root; -> how it ended and what it printed."""
        enter = [program("nsenter"), "--target", str(self._init), "--mount", "--pid", "--ipc", "--uts", "--net", "--cgroup",
                 "--root", "--"]  # fmt: skip
        environment = ["env", "--chdir=/", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
                       "HOME=/root", "DEBIAN_FRONTEND=noninteractive", "SYSTEMD_PAGER=cat"]  # fmt: skip
        return subprocess.run(
            [*enter, *environment, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def run(self, *command: str, timeout: float = 30) -> str:
        """Runs a command on it, as root; -> what it printed.

        Raises:
            RuntimeError: it failed.
        """
        done = self.try_run(*command, timeout=timeout)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

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
        # Those that ran longest ended with the namespace; the groups that they leave are empty.
        folders = sorted((path for path in self._cgroup.rglob("*") if path.is_dir()), reverse=True)
        try:
            for folder in [*folders, self._cgroup]:
                folder.rmdir()
        except OSError:
            return False
        return True


def _cgroups() -> Path:
    mounts = re.findall(r"^\S+ (\S+) cgroup2 ", Path("/proc/mounts").read_text(), re.MULTILINE)
    if not mounts:
        raise RuntimeError("no cgroup2 hierarchy is mounted")
    return Path(mounts[0])
