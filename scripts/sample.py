"""The sample of a settings file: every setting, commented out."""

import json
import textwrap

from rrwatch.settings.table import SETTINGS_FILE, Setting
from scripts.groups import groups

_WIDTH = 100

_HEADER = f"""\
Settings of rrwatch, installed as {SETTINGS_FILE}.

A command-line option takes precedence over an environment variable, a variable over this file, and this file over
the default. To change a setting, remove the # in front of its line and restart rrwatch. `rrwatch check` tests the
settings and what they refer to.

A value shown here is the default, unless the comment above it ends in "Example:".
"""

_EXAMPLES: dict[str, str | int] = {
    "ip": "172.17.42.40",
    "ip6": "2001:db8::40",
    "nodename": "kube-node1",
    "families": "4,6",
    "reflectors": "172.17.42.41,172.17.42.42",
    "cluster_id": "1.0.0.1",
    "model": "calico-v1",
    "bgp_passwords": "/etc/rrwatch/passwords",
    "etcd_endpoints": "https://172.17.42.30:2379,https://172.17.42.31:2379",
    "etcd_authority": "172.17.42.30:2379",
    "etcd_ca_cert_file": "/etc/rrwatch/etcd-ca.pem",
    "etcd_cert_file": "/etc/rrwatch/etcd-client.pem",
    "etcd_key_file": "/etc/rrwatch/etcd-client.key",
    "etcd_username": "rrwatch",
    "etcd_password": "a password",
    "etcd_password_file": "/etc/rrwatch/etcd-password",
    "bird_version": "1.6",
    "bird_log": "syslog",
    "templates": "/etc/rrwatch/templates",
    "etcd_spread": 30,
    "hook_command": "/usr/local/bin/rrwatch-hook --quiet",
    "hook_url": "https://alerts.example.org/rrwatch",
    "log_format": "json",
}
"""Values to show for settings that have no default, or one that cannot be written as a value."""


def sample() -> str:
    """Returns the text of the sample."""
    lines = [_comment(paragraph) for paragraph in _HEADER.split("\n\n")]
    text = "#\n".join(lines)
    for title, settings in groups().items():
        text += f"\n\n# {title}\n# {'-' * len(title)}\n"
        text += "".join("\n" + _entry(setting) for setting in settings)
    return text


def _entry(setting: Setting) -> str:
    notes = f"Environment: {' or '.join(setting.variables)}."
    if setting.name in _EXAMPLES:
        value = _toml(_EXAMPLES[setting.name])
        notes += f" Default: {setting.shown_default}." if setting.shown_default else " Not set by default."
        notes += " Example:"
    elif setting.default is not None:
        value = _toml(int(setting.default) if setting.default.isdecimal() else setting.default)
    else:
        raise ValueError(f"{setting.name} has no default: give it an example in {__name__}")
    return f"{_comment(setting.help)}{_comment(notes)}#{setting.name} = {value}\n"


def _comment(paragraph: str) -> str:
    words = " ".join(paragraph.split())
    return (
        textwrap.indent(textwrap.fill(words, _WIDTH - 2, break_long_words=False, break_on_hyphens=False), "# ") + "\n"
    )


def _toml(value: str | int) -> str:
    # No value of a sample needs an escape in JSON that TOML does not have.
    return json.dumps(value)
