"""Files of keys of any content give keys or one line, never a traceback."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rrwatch.calico.v1 import V1
from rrwatch.commands.keys import from_file, model_of, require_sessions
from rrwatch.errors import RrwatchError, UsageError
from tests.fuzz import EXAMPLES
from tests.keys import CLUSTER, PREFIX

_keys = st.one_of(st.sampled_from([*CLUSTER, f"{PREFIX}/host/\x1b/as_num"]), st.text(max_size=10))
_values: Any = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_keys, inner, max_size=3)),
    max_leaves=6,
)
_documents = st.one_of(_values, st.dictionaries(_keys, st.one_of(st.text(max_size=10), _values), max_size=5))


def refusal(file: Path) -> str:
    """The line with which a file is refused; empty if it is accepted."""
    try:
        keys = from_file(file)
        require_sessions(file, keys, model_of(keys, V1))
    except RrwatchError as error:
        return str(error)
    assert all(isinstance(value, str) for value in keys.values())
    return ""


@given(st.one_of(_documents.map(lambda value: json.dumps(value).encode()), st.binary(max_size=60)))
@example(b"[" * 100_000)
@example(b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}")
@example(b'{"a": ' + b'{"a": ' * 900 + b"1" + b"}" * 901)
@example(b'{"a": ' + b"9" * 5000 + b"}")
@example(b'{"a": Infinity}')
@example(b'{"\\ud800": "\\udfff"}')
@example(b"\xff\xfe{}")
@settings(max_examples=EXAMPLES)
def test_files_of_any_content(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keys.json"
        file.write_bytes(content)
        assert "\n" not in refusal(file)


@pytest.mark.parametrize("depth", range(800, 1000, 5))
def test_a_value_nested_as_deeply_as_json_can_be_read(depth: int, tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b'{"a": ' + b"[" * depth + b"]" * depth + b"}")
    with pytest.raises(UsageError, match=r"^[^\n]+$"):
        from_file(tmp_path / "keys")
