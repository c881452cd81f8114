"""What does not fit a schema, worded so that whoever sent it (mostly a model) can correct it."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lash.core.json import JsonObject, JsonValue

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

#: How msgspec ends a message: the path, and whether a key there is meant and not the value.
_AT = re.compile(r" - at `(?P<key>key` in `)?\$(?P<path>[^`]*)`$")
#: How it refuses a value that is none of an enum's, a literal's or a union's tags.
_NO_MEMBER = re.compile(r"Invalid (?:enum )?value (.*)", re.DOTALL)
#: How it writes the step to a value of a dict; it does not say which.
_SOMEWHERE = "[...]"
_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>\d+)\]|\[\.\.\.\]")
#: Longer values are described and not repeated: an error is for reading.
_LONGEST_ECHO = 60


@dataclass(frozen=True, slots=True)
class Misfit:
    """One place where JSON does not fit.

    Attributes:
        path: Where, from the value looked at: `""` for itself, else like `.items[3].id`.
        reason: What was expected there and what came.
    """

    path: str
    reason: str


class MisfitError(ValueError):
    """Raised by a reader that found every misfit itself."""

    def __init__(self, misfits: Iterable[Misfit]) -> None:
        self.misfits = tuple(misfits)
        super().__init__("; ".join(f"{misfit.path} {misfit.reason}" for misfit in self.misfits))


def describe_misfits(
    error: Exception, value: JsonValue, schema: JsonObject, definitions: JsonObject
) -> list[Misfit]:
    """Say where and why reading `value`, which should fit `schema`, ended in `error`."""
    if isinstance(error, MisfitError):
        return list(error.misfits)
    text = str(error)
    match = _AT.search(text)
    path = match["path"] if match else ""
    if isinstance(error.__cause__, MisfitError):
        return [Misfit(path + inner.path, inner.reason) for inner in error.__cause__.misfits]
    reason = text[: match.start()] if match else text
    if match and match["key"]:
        return [Misfit(path, f"a key is wrong: {_lowered(reason)}")]
    return [Misfit(path, _complete(reason, path, value, schema, definitions))]


def pydantic_misfits(error: "ValidationError", value: JsonValue) -> list[Misfit]:
    """List everything pydantic found wrong with `value`."""
    return [
        _pydantic_misfit(problem, value)
        for problem in error.errors(include_url=False, include_context=False)
    ]


def _pydantic_misfit(problem: "ErrorDetails", value: JsonValue) -> Misfit:
    """Tell the steps into the JSON from the names of union branches that pydantic puts between."""
    path, reason, location = "", _lowered(problem["msg"]), problem["loc"]
    if problem["type"] == "missing":
        location, end = location[:-1], f".{location[-1]}"
    else:
        reason, end = f"{reason}, got {_kind(problem['input'])}", ""
    for step in location:
        if isinstance(step, int) and isinstance(value, list | tuple):
            path, value = f"{path}[{step}]", value[step]
        elif isinstance(value, Mapping) and step in value:
            path, value = f"{path}.{step}", value[str(step)]
        else:
            reason += f" (read as {step})"
    return Misfit(path + end, reason)


def _complete(
    reason: str, path: str, value: JsonValue, schema: JsonObject, definitions: JsonObject
) -> str:
    """Add what msgspec leaves out: the values an enum allows, and what came."""
    steps = list(_STEP.finditer(path))
    if match := _NO_MEMBER.match(reason):
        came = match[1] if len(match[1]) <= _LONGEST_ECHO else "a longer text"
        allowed = ", ".join(_allowed(schema, steps, definitions))
        return f"expected one of {allowed}, got {came}" if allowed else f"unknown value {came}"
    incomplete = reason.startswith(("Expected", "Invalid")) and ", got " not in reason
    if incomplete and _SOMEWHERE not in path:
        for step in steps:
            value = _value_at(value, step)
        return f"{_lowered(reason)}, got {_kind(value)}"
    return _lowered(reason)


def _value_at(value: JsonValue, step: re.Match[str]) -> JsonValue:
    if isinstance(value, Mapping) and step["name"]:
        return value.get(step["name"])
    if isinstance(value, list | tuple) and step["index"]:
        item: JsonValue = value[int(step["index"])]
        return item
    return value


def _allowed(
    schema: JsonObject, steps: Iterable[re.Match[str]], definitions: JsonObject
) -> list[str]:
    """List the values that the enums at the end of `steps` allow, as JSON."""
    here = list(_branches(schema, definitions))
    for step in steps:
        inner = [_schema_at(branch, step) for branch in here]
        here = [
            branch
            for schema in inner
            if isinstance(schema, Mapping)
            for branch in _branches(schema, definitions)
        ]
    values: list[str] = []
    for branch in here:
        enum = branch.get("enum")
        values += [json.dumps(item) for item in enum] if isinstance(enum, list) else []
    return values


def _branches(schema: JsonObject, definitions: JsonObject) -> Iterator[JsonObject]:
    """Yield the schemas that a schema stands for, references and alternatives resolved."""
    reference, alternatives = schema.get("$ref"), schema.get("anyOf")
    if isinstance(reference, str):
        target = definitions.get(reference.rpartition("/")[2])
        if isinstance(target, Mapping):
            yield from _branches(target, definitions)
    elif isinstance(alternatives, list):
        for alternative in alternatives:
            yield from _branches(alternative, definitions)
    else:
        yield schema


def _schema_at(schema: JsonObject, step: re.Match[str]) -> JsonValue:
    if step["index"]:
        index, leading = int(step["index"]), schema.get("prefixItems")
        if isinstance(leading, list) and index < len(leading):
            schema = {"items": leading[index]}
        return schema.get("items")
    properties = schema.get("properties")
    if step["name"] and isinstance(properties, Mapping) and step["name"] in properties:
        return properties[step["name"]]
    return schema.get("additionalProperties")


def _kind(value: object) -> str:
    """Say what came by its JSON type; small scalars as they are, texts by their length."""
    match value:
        case None | bool() | int() | float():
            text = json.dumps(value)
            return text if len(text) <= _LONGEST_ECHO else "a number too long to repeat"
        case str():
            return f"a string of length {len(value)}"
        case Mapping():
            return "an object"
        case _:
            return f"an array of length {len(value)}" if isinstance(value, list) else "an array"


def _lowered(text: str) -> str:
    """Make a sentence the continuation of one; an abbreviation at its start stays."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
