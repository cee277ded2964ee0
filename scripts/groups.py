"""The settings in groups, for people who read all of them."""

from itertools import groupby

from rrwatch.settings.table import SETTINGS, Setting

_TITLES = {
    "role": "This host",
    "datastore": "etcd",
    "config": "BIRD",
    "state_dir": "State and guard",
    "status_listen": "Status, timing and log",
}
"""The title of each group, by the first setting that belongs to it."""


def groups() -> dict[str, list[Setting]]:
    """Returns all settings by the title of their group, in the order of `SETTINGS`."""
    title = ""
    titled = [(title := _TITLES.get(setting.name, title), setting) for setting in SETTINGS]
    return {key: [setting for _, setting in members] for key, members in groupby(titled, key=lambda pair: pair[0])}
