"""JSON schemas as servers write them: looked at before they are used, and never fetched from anywhere."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from lash.core.json import JsonObject, JsonValue, canonical

#: A larger schema is no description of arguments any more.
LONGEST_SCHEMA = 256 * 1024

#: How deep a schema may be nested; far below what Python's stack can bear.
_DEEPEST = 100

_LONGEST_REASON = 300
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")

#: A pattern may take for ever to match, and the host would stand still: the server checks its own.
_LEFT_TO_THE_SERVER = ("pattern", "patternProperties")


class SchemaError(Exception):
    """A schema cannot be used. Its text says why."""


@dataclass(frozen=True, slots=True)
class Checker:
    """Checks values against one schema."""

    _validator: Any

    def misfit(self, value: JsonValue) -> str | None:
        """What does not fit first, with where; None when all does."""
        try:
            problem = next(self._validator.iter_errors(value), None)
        except RecursionError:
            return "it is nested too deeply to be checked"
        except Exception as error:  # noqa: BLE001  a schema that leads nowhere, in ways of its own
            return f"the schema cannot be used ({type(error).__name__})"
        if problem is None:
            return None
        reason = str(problem.message)
        told = reason if len(reason) <= _LONGEST_REASON else reason[:_LONGEST_REASON] + "…"
        return f"`{problem.json_path}`: {told}"


def checker(schema: JsonObject) -> Checker:
    """What checks values against a schema.

    Raises:
        SchemaError: It is no JSON schema, too large, or refers to something outside of itself.
    """
    import jsonschema  # slow to import, and rarely needed
    from referencing.jsonschema import EMPTY_REGISTRY

    if len(canonical(schema)) > LONGEST_SCHEMA:
        raise SchemaError(f"it is larger than {LONGEST_SCHEMA} bytes")
    for reference in _references(schema):
        if not reference.startswith("#"):
            raise SchemaError(f"it refers to {reference[:_LONGEST_REASON]!r}, which is not in it")
    known = jsonschema.validators.validator_for(
        {"$schema": str(schema.get("$schema", ""))}, default=jsonschema.Draft202012Validator
    )
    try:
        known.check_schema(cast("dict[str, Any]", schema))
    except jsonschema.SchemaError as error:
        raise SchemaError(error.message[:_LONGEST_REASON]) from error
    except RecursionError as error:
        raise SchemaError("it is nested too deeply") from error
    extend = cast("Any", jsonschema.validators.extend)  # which has no types
    tolerant = extend(known, dict.fromkeys(_LEFT_TO_THE_SERVER, _nothing))
    # With a registry of its own nothing is ever fetched from where a schema says it lies.
    return Checker(tolerant(schema, registry=EMPTY_REGISTRY))


def _nothing(*_: object) -> Iterator[Any]:
    return iter(())


def _references(schema: JsonValue, depth: int = 0) -> Iterator[str]:
    if depth > _DEEPEST:
        raise SchemaError("it is nested too deeply")
    if isinstance(schema, Mapping):
        for name, part in schema.items():
            if name in _REFERENCES and isinstance(part, str):
                yield part
            yield from _references(part, depth + 1)
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from _references(part, depth + 1)
