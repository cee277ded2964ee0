"""Runs a real etcd with the v2 API, as a single member or as one of several."""

import contextlib
import json
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.process import Process, free_port, inside, wait_until


class Etcd:
    """One member of etcd, alone or in a cluster. It can be stopped, started again and wiped."""

    def __init__(
        self,
        folder: Path,
        tls: Path | None = None,
        token: str = "rrwatch-lab",
        namespace: str | None = None,
        address: str | None = None,
        members: Mapping[str, str] | None = None,
        name: str = "lab",
        asked_from: str | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        """Chooses free ports unless an address is given; `start()` starts it.

        Args:
            folder: for its data and its log.
            tls: a folder with `ca.pem`, and `server` and `client` as `.pem` and `.key`; with it, etcd serves TLS and
                accepts only clients with a certificate.
            token: part of what the id of the cluster is computed from.
            namespace: the network namespace to run in.
            address: its address there.
            members: the peer URLs of all members by name, itself included; if not given, it is the only member.
            name: its own name.
            asked_from: the network namespace to send requests from, if it is another one.
            flags: more flags for its command line.
        """
        self._folder, self._tls, self.token = folder, tls, token
        self._context = None
        if tls:
            self._context = ssl.create_default_context(cafile=str(tls / "ca.pem"))
            self._context.load_cert_chain(tls / "client.pem", tls / "client.key")
        scheme = "https" if tls else "http"
        self._namespace, self._asked_from = namespace, asked_from or namespace
        self.name, self._flags = name, flags
        self.url = f"{scheme}://{address}:2379" if address else f"{scheme}://127.0.0.1:{free_port()}"
        self._members = members or {name: f"http://127.0.0.1:{free_port()}"}
        self._process: Process | None = None

    def start(self) -> "Etcd":
        """Starts it, and waits until it answers."""
        self.launch()
        wait_until(self.answers, f"etcd on {self.url}", 30)
        return self

    def launch(self) -> None:
        """Starts it without waiting; a member of a cluster answers when a majority is running."""
        self._folder.mkdir(parents=True, exist_ok=True)
        tls, peer_url = self._tls, self._members[self.name]
        command = [
            *self._program(), "--name", self.name, "--data-dir", str(self._folder / "data"),
            "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
            "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url,
            "--initial-cluster", ",".join(f"{name}={url}" for name, url in self._members.items()),
            "--initial-cluster-token", self.token,
            "--logger", "zap", "--log-outputs", "stderr", *self._flags,
        ]  # fmt: skip
        if tls:
            command += ["--cert-file", str(tls / "server.pem"), "--key-file", str(tls / "server.key")]
            command += ["--client-cert-auth", "--trusted-ca-file", str(tls / "ca.pem")]
        self._process = Process(command, self._folder / "etcd.log", self._namespace)

    def _program(self) -> list[str]:
        """Returns the program, and the flags that choose its API."""
        return ["etcd", "--enable-v2=true"]

    @contextlib.contextmanager
    def proxied(self) -> Iterator[str]:
        """Runs etcd's own v2 proxy in front of it while the context lasts, and provides the proxy's URL."""
        url = f"http://127.0.0.1:{free_port()}"
        members = ",".join(f"{name}={peer_url}" for name, peer_url in self._members.items())
        command = [
            "etcd",
            "--proxy",
            "on",
            "--enable-v2=true",
            "--listen-client-urls",
            url,
            "--initial-cluster",
            members,
        ]
        process = Process([*command, "--data-dir", str(self._folder / "proxy")], self._folder / "proxy.log")
        try:
            wait_until(lambda: _responds(f"{url}/v2/keys/"), "the proxy", 30)
            yield url
        finally:
            process.stop()

    def stop(self) -> None:
        """Stops it; the data stays."""
        if self._process:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """Kills it; the data stays."""
        if self._process:
            self._process.kill()
            self._process = None

    @property
    def process(self) -> Process:
        """The running program."""
        assert self._process
        return self._process

    def wipe(self) -> None:
        """Removes the data of a stopped etcd."""
        shutil.rmtree(self._folder / "data")

    def save(self) -> None:
        """Saves a copy of a stopped etcd's data."""
        shutil.copytree(self._folder / "data", self._folder / "saved", dirs_exist_ok=True)

    def restore(self) -> None:
        """Replaces a stopped etcd's data by the saved copy."""
        self.wipe()
        shutil.copytree(self._folder / "saved", self._folder / "data")

    def put(self, key: str, value: str) -> None:
        """Writes one key."""
        self._ask("PUT", key, data=urllib.parse.urlencode({"value": value}).encode())

    def put_all(self, items: dict[str, str]) -> None:
        """Writes many keys."""
        for key, value in items.items():
            self.put(key, value)

    def delete(self, key: str, *, recursive: bool = False) -> None:
        """Deletes a key, or a folder with everything in it."""
        self._ask("DELETE", key, "?recursive=true" if recursive else "")

    def ask(self, method: str, key: str, query: str = "", **fields: str) -> dict[str, Any]:
        """Sends any other request of the keys API, and returns the answer."""
        return self._ask(method, key, query, urllib.parse.urlencode(fields).encode() if fields else None)

    def items(self, prefix: str) -> dict[str, str]:
        """Returns all keys and values below the prefix."""
        try:
            folders = [self._ask("GET", prefix, "?recursive=true&quorum=true")["node"]]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return {}
            raise
        found: dict[str, str] = {}
        while folders:
            for node in folders.pop().get("nodes", []):
                if node.get("dir"):
                    folders.append(node)
                else:
                    found[node["key"]] = node["value"]
        return found

    def _ask(self, method: str, key: str, query: str = "", data: bytes | None = None) -> dict[str, Any]:
        return self._send(method, f"{self.url}/v2/keys{urllib.parse.quote(key)}{query}", data)

    def _send(self, method: str, url: str, data: bytes | None, token: str | None = None) -> dict[str, Any]:
        """Sends a request from where it can be reached, and returns the JSON of the answer."""
        if self._asked_from:
            return self._ask_inside(method, url, data)
        headers = {"Authorization": token} if token else {}
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10, context=self._context) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            error.close()  # it is an answer too, and would keep its socket
            raise

    def _ask_inside(self, method: str, url: str, data: bytes | None) -> dict[str, Any]:
        # A process is in one network namespace, so a request from another one needs a process in there.
        asking = (
            "import sys, urllib.request as u; m, url = sys.argv[1:]; "
            "print(u.urlopen(u.Request(url, sys.stdin.buffer.read() or None, method=m), timeout=10).read().decode())"
        )
        command = [*inside(self._asked_from), sys.executable, "-c", asking, method, url]
        done = subprocess.run(command, input=data or b"", capture_output=True, timeout=15, check=False)
        if done.returncode:
            raise OSError(done.stderr.decode(errors="replace").strip().splitlines()[-1])
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def reads(self) -> int:
        """Returns its own count of successful reads without watches (etcd v2 API, "Store statistics")."""
        with urllib.request.urlopen(f"{self.url}/v2/stats/store", timeout=10, context=self._context) as answer:
            return int(json.load(answer)["getsSuccess"])

    def answers(self) -> bool:
        """Returns whether it answers a read that needs a majority."""
        try:
            self._ask("GET", "/", "?quorum=true")
        except (OSError, ValueError):
            return False
        return True

    def serves_version(self) -> bool:
        """Returns whether it answers at all, whichever API it serves."""
        return _responds(f"{self.url}/version")


def _responds(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        pass
    return False
