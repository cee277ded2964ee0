"""The JSON Schemas of rrwatch's documents are valid, and complete about the objects that they describe."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from tests.schemas import SCHEMAS, validate

_FILES = sorted(SCHEMAS.glob("*.schema.json"))


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Yields each part of a schema that describes the members of an object."""
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object":
            yield schema
        for part in schema.values():
            yield from _objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _objects(part)


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.name)
def test_each_is_valid_and_allows_no_other_members(path: Path) -> None:
    schema = json.loads(path.read_text())
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert all(part["additionalProperties"] is False for part in _objects(schema))


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.name)
def test_each_names_its_document(path: Path) -> None:
    name = path.name.removesuffix(".schema.json")
    schema = json.loads(path.read_text())
    if schema["type"] == "object":  # findings are a list, which cannot name itself
        assert schema["properties"]["schema"]["const"].startswith(f"rrwatch.{name}/")
    with pytest.raises(ValidationError):
        validate(name, {})
