"""Settings of any content give a `Settings` or one line, never a traceback."""

import os
import tempfile
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rrwatch.cli.options import with_settings
from rrwatch.errors import UsageError
from rrwatch.settings.model import settings_of
from rrwatch.settings.table import SETTINGS
from tests.fuzz import EXAMPLES

_command = click.command()(with_settings(lambda _: None, settings_of, warn=False))

_names = st.sampled_from([setting.name for setting in SETTINGS])
_odd = st.sampled_from([
    "inf", "-inf", "nan", "1e999", "9" * 5000, "0x" + "f" * 5000, "-0", "+1", "1_000", "\u0661", "\u00b2",
    "[::1", "[::1]:80", "::1", "http://[", "http://[::1]:1", "http://a:b@c", "//", "a" * 5000, "/" * 200, "/\x00",
    "\x1b[2J", "/\u202e", '"', "node", "6", "4,6", "on", "json", "3", "2.0", "1.6." + "9" * 5000, "/dev/null", "/",
    "/proc/self/mem", "/etc/shadow/x",
])  # fmt: skip
_texts = st.one_of(_odd, st.text(max_size=20))


def outcome_of(environment: dict[str, str], *flags: str) -> str:
    """The line with which the settings are refused; empty if they are accepted."""
    cleared = dict.fromkeys([name for name in os.environ if name.startswith("RRWATCH_")])
    try:
        CliRunner().invoke(_command, flags, env=cleared | environment, catch_exceptions=False, standalone_mode=False)
    except UsageError as error:
        return str(error)
    except click.ClickException as error:
        return error.format_message()
    return ""


@given(st.dictionaries(_names, _texts, max_size=4))
@example({"guard_min": "9" * 5000})
@example({"etcd_ca_cert_file": "\x00"})
@example({"templates": "x" * 5000})
@settings(max_examples=EXAMPLES)
def test_flags_of_any_content(values: dict[str, str]) -> None:
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]
    assert "\n" not in outcome_of({"IP": "10.0.0.1"}, *flags)


_keys = st.one_of(_names, st.text(alphabet="abc_-.", min_size=1, max_size=8).map(lambda name: f'"{name}"'))
_scalars = st.one_of(
    st.sampled_from(
        ["inf", "-inf", "nan", "true", "1979-05-27", "07:32:00", "0x" + "f" * 5000, "1e400", "9" * 5000, "''"]
    ),
    st.integers().map(str),
    st.floats().map(repr),
    _texts.map(lambda text: '"' + "".join(f"\\U{ord(char):08x}" for char in text) + '"'),
)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=2).map(
            lambda table: "{" + ", ".join(f"{name} = {value}" for name, value in table.items()) + "}"
        ),
    ),
    max_leaves=8,
)
_tables: Any = st.lists(st.tuples(_keys, _values), max_size=5).map(
    lambda rows: "".join(f"{name} = {value}\n" for name, value in rows).encode(errors="surrogatepass")
)


@given(st.one_of(_tables, st.binary(max_size=100)))
@example(b"guard_min = " + b"[" * 5000)
@example(b"guard_min = " + b"[" * 200 + b"]" * 200)
@example(b"guard_min = " + b"{a=" * 90 + b"1" + b"}" * 90)
@example(b"guard_min = 0x" + b"f" * 5000)
@example(b"ip = {a = 0x" + b"f" * 5000 + b"}")
@settings(max_examples=EXAMPLES)
def test_files_of_any_content(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rrwatch.toml"
        file.write_bytes(content)
        assert "\n" not in outcome_of({"IP": "10.0.0.1"}, "--settings", str(file))
