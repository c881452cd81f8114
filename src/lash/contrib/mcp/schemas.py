"""JSON schemas as servers write them: small enough to be one, looked at, and their patterns left to them."""

from collections.abc import Mapping
from typing import cast

from lash.core.json import JsonObject, canonical, is_deep
from lash.tools.validation import InputSchema, UnusableSchemaError, usable_schema

#: A larger schema is no description of arguments any more.
LONGEST_SCHEMA = 256 * 1024


def checker(schema: JsonObject, *, kind: str = "") -> InputSchema:
    """What checks values against a schema. A server checks its patterns itself.

    Args:
        schema: The schema.
        kind: The type that it has to be of, if it says; any, if blank.

    Raises:
        UnusableSchemaError: It is no JSON schema, too large, or refers to something outside of itself.
    """
    if is_deep(schema):
        raise UnusableSchemaError("it is nested too deeply")
    if len(canonical(schema)) > LONGEST_SCHEMA:
        raise UnusableSchemaError(f"it is larger than {LONGEST_SCHEMA} bytes")
    try:
        return usable_schema(schema, kind=kind, patterns=False)
    except UnusableSchemaError:
        if "$schema" not in schema:
            raise
    # It may name a draft that nobody knows; most are read alike.
    plain = {name: part for name, part in schema.items() if name != "$schema"}
    return usable_schema(plain, kind=kind, patterns=False)


def or_nothing(schema: object) -> InputSchema | None:
    """What checks against a schema that may be missing, or no use; then nothing is checked."""
    if not isinstance(schema, Mapping):
        return None
    try:
        return checker(cast("JsonObject", schema))
    except UnusableSchemaError:
        return None
