"""Builds the environment in which rrwatch is started: its role, its etcd, and the files of its BIRD."""

import os
from pathlib import Path

from lab.bird import Bird


def environment(config: Path, socket: Path, state: Path, endpoints: str = "", /, **variables: str) -> dict[str, str]:
    """Returns the environment for an rrwatch that writes a file.

    Args:
        config: the configuration file; that of `bird6` is beside it.
        socket: the control socket; that of `bird6` is beside it.
        state: the state directory.
        endpoints: URLs of etcd, separated by commas; rrwatch's default if there are none.
        variables: more variables; they take precedence.
    """
    return {
        "PATH": os.environ["PATH"],
        "ETCD_ENDPOINTS": endpoints,
        "RRWATCH_CONFIG": str(config),
        "RRWATCH_CONFIG6": str(config.with_name("bird6.cfg")),
        "RRWATCH_BIRD_SOCKET": str(socket),
        "RRWATCH_BIRD6_SOCKET": str(socket.with_name("bird6.ctl")),
        "RRWATCH_STATE_DIR": str(state),
        **variables,
    }


def beside(bird: Bird, endpoints: str, state: Path | None = None, /, **variables: str) -> dict[str, str]:
    """Returns the environment for an rrwatch that configures a BIRD.

    Args:
        bird: the BIRD; of a BIRD 1.6 the one for IPv4.
        endpoints: URLs of etcd, separated by commas.
        state: the state directory; `state` beside BIRD's directory if none is given.
        variables: more variables; they take precedence.
    """
    state = state or bird.folder.parent / "state"
    return environment(bird.config, bird.socket, state, endpoints, PATH=bird.release.path) | variables


def reflector(address: str) -> dict[str, str]:
    """Returns the variables of a route reflector."""
    return {"IP": address}


def node(name: str) -> dict[str, str]:
    """Returns the variables of a Calico node, which lists etcd without a random delay."""
    return {"RRWATCH_ROLE": "node", "NODENAME": name, "IP": "", "RRWATCH_ETCD_SPREAD": "0"}
