"""Validates JSON documents of rrwatch against the schemas in `docs/schema/`."""

import json
from functools import cache
from pathlib import Path

from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).parent.parent / "docs" / "schema"


def validate(name: str, document: object) -> None:
    """Validates a document against `docs/schema/<name>.schema.json`.

    Raises:
        jsonschema.ValidationError: the document is not what the schema describes.
        jsonschema.SchemaError: the schema itself is wrong.
    """
    _validator(name).validate(document)


@cache
def _validator(name: str) -> Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
