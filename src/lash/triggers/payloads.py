"""Whether what an event says fits a JSON schema."""

from functools import lru_cache

import jsonschema
import jsonschema.exceptions
import msgspec
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

from lash.core.json import JsonObject, JsonValue, encode


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> jsonschema.Draft202012Validator:
    # An empty registry: a schema must never have anything fetched.
    return jsonschema.Draft202012Validator(msgspec.json.decode(schema), registry=EMPTY_REGISTRY)


def schema_problem(schema: JsonObject) -> str | None:
    """What is wrong with a schema, if it is none."""
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.exceptions.SchemaError as error:
        return error.message
    return None


def payload_problem(schema: JsonObject, payload: JsonValue) -> str | None:
    """Why a payload does not fit a schema, with the place; None when it does.

    What the payload says there is not told: reasons are kept and logged, and payloads may be secret.
    """
    if not schema:
        return None
    try:
        error = jsonschema.exceptions.best_match(_validator(encode(schema)).iter_errors(payload))
    except Unresolvable as missing:
        return f"its schema refers to {missing.ref!r}, which is not in it"
    if error is None:
        return None
    asked = encode({str(error.validator): error.validator_value}).decode()
    return f"at {error.json_path} it does not satisfy {asked[:300]}"
