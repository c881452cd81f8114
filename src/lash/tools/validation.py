"""The JSON schemas that tools bring along: looked at when declared, compiled when used, never fetched."""

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import msgspec

from lash.core.errors import ConfigurationError, LashError
from lash.core.json import JsonObject, JsonValue, canonical, digest_bytes
from lash.core.schema_values import with_whole_numbers, without_optional_nulls

if TYPE_CHECKING:
    from jsonschema.protocols import Validator
    from referencing.jsonschema import SchemaResource

#: How many compiled schemas are kept, and how long their texts may be together.
MOST_COMPILED = 1024
MOST_COMPILED_BYTES = 16 * 1024 * 1024

#: What a schema is read as unless it says otherwise with `$schema`.
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")

#: What is wrong may quote the whole value; the beginning tells.
_LONGEST_REASON = 300


#: A pattern may take for ever to match, and the loop would stand still meanwhile.
_PATTERNS = ("pattern", "patternProperties")


class UnusableSchemaError(Exception):
    """A schema cannot be used. Its text says why."""


@dataclass(frozen=True, slots=True)
class InputSchema:
    """The schema of a tool's arguments, looked at and ready to check with.

    Attributes:
        document: The schema, in the order in which it was written.
        text: The same as JSON.
        key: What it is called among compiled schemas.
        patterns: Whether patterns are checked; without, they only describe.
    """

    document: JsonObject
    text: bytes
    key: str
    patterns: bool = True

    def misfit(self, value: JsonValue) -> str | None:
        """What does not fit first, as `<pointer>: <message>`; just the message at the root."""
        try:
            problem = next(iter(_compiled.validator(self).iter_errors(value)), None)
        except RecursionError:
            return "it is nested too deeply to be checked"
        except Exception as error:  # noqa: BLE001  numbers that do not divide, in ways of their own
            return f"it cannot be checked ({type(error).__name__})"
        if problem is None:
            return None
        steps = (str(step).replace("~", "~0").replace("/", "~1") for step in problem.absolute_path)
        pointer = "".join(f"/{step}" for step in steps)
        reason = str(problem.message)
        told = reason if len(reason) <= _LONGEST_REASON else reason[:_LONGEST_REASON] + "…"
        return f"{pointer}: {told}" if pointer else told

    def read(self, args: JsonObject) -> JsonObject:
        """Arguments as a tool takes them: without nulls for what was left out, `1.0` as `1`.

        Raises:
            LashError: `invalid_tool_args`, with the first misfit as `<pointer>: <message>`.
        """
        given: JsonValue = args
        misfit = self.misfit(given)
        if misfit is not None and isinstance(given, Mapping):
            kept = without_optional_nulls(given, self.document, self.document)
            misfit = misfit if kept is given else self.misfit(kept)
            given = kept
        if misfit is not None:
            raise LashError("invalid_tool_args", misfit, problems=[misfit])
        return cast("JsonObject", with_whole_numbers(given, self.document, self.document))


def input_schema(given: object, name: str) -> InputSchema:
    """Look at the schema of a tool's arguments, all of it, before anybody calls the tool.

    Args:
        given: The schema, as data.
        name: The tool.

    Raises:
        ConfigurationError: `tool_schema_invalid`.
    """
    try:
        return usable_schema(given)
    except UnusableSchemaError as error:
        raise ConfigurationError(
            "tool_schema_invalid",
            f"The input schema of tool {name!r} cannot be used: {error}.",
            tool=name,
        ) from error


def usable_schema(given: object, *, kind: str = "object", patterns: bool = True) -> InputSchema:
    """Look at a schema, all of it.

    Args:
        given: The schema, as data.
        kind: The type that it has to be of, if it says; any, if blank.
        patterns: Whether patterns are checked.

    Raises:
        UnusableSchemaError: It is no schema, leads outside, or leads nowhere.
    """
    if not isinstance(given, Mapping):
        raise UnusableSchemaError(f"it is a {type(given).__name__}, not an object")
    try:
        canonical(given)
        # As it was written: the first thing that does not fit is reported, and order decides which.
        text = msgspec.json.encode(given)
    except LashError as error:
        raise UnusableSchemaError(error.message) from error
    document: JsonObject = msgspec.json.decode(text)
    if kind and document.get("type", kind) != kind:
        raise UnusableSchemaError(f"its type is {document['type']!r}; arguments come as an {kind}")
    _look_at(document)
    family = "tool-input-schema" if patterns else "tool-schema-without-patterns"
    return InputSchema(document, text, digest_bytes(family, text), patterns)


def _look_at(document: JsonObject) -> None:
    """Refuse what is no schema, leads outside, or leads nowhere."""
    import jsonschema
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import EMPTY_REGISTRY

    try:
        _kind(document).check_schema(cast("dict[str, JsonValue]", document))
        root = _resource(document)
        for contents in _subschemas(root):
            for reference in _references(contents):
                EMPTY_REGISTRY.resolver_with_root(root).lookup(reference)
    except jsonschema.SchemaError as error:
        raise UnusableSchemaError(error.message[:_LONGEST_REASON]) from error
    except Unresolvable as error:
        raise UnusableSchemaError(f"it refers to {error.ref!r}, which is not in it") from error
    except RecursionError as error:
        raise UnusableSchemaError("it is nested too deeply") from error
    except LookupError as error:
        raise UnusableSchemaError(
            f"its $schema, {document.get('$schema')!r}, is not known"
        ) from error


def _kind(document: JsonObject) -> "type[Validator]":
    import jsonschema

    dialect = {"$schema": str(document.get("$schema", _DIALECT))}
    known = jsonschema.validators.validator_for(
        dialect,
        default=None,  # type: ignore[arg-type]  # any default is handed back
    )
    if known is None:
        raise LookupError(dialect["$schema"])
    return known


@functools.cache
def _without_patterns(kind: "type[Validator]") -> "type[Validator]":
    import jsonschema

    extend = cast("Callable[..., type[Validator]]", jsonschema.validators.extend)  # untyped
    return extend(kind, dict.fromkeys(_PATTERNS, _unchecked))


def _unchecked(*_: object) -> Iterator[object]:
    return iter(())


def _resource(document: JsonObject) -> "SchemaResource":
    from referencing.jsonschema import specification_with

    dialect = str(document.get("$schema", _DIALECT))
    return specification_with(dialect).create_resource(cast("dict[str, JsonValue]", document))


def _subschemas(schema: "SchemaResource") -> "Iterator[Mapping[str, object]]":
    if isinstance(schema.contents, Mapping):
        yield schema.contents
    for inner in schema.subresources():
        yield from _subschemas(inner)


def _references(contents: Mapping[str, object]) -> Iterator[str]:
    for keyword in _REFERENCES:
        reference = contents.get(keyword)
        if not isinstance(reference, str):
            continue
        if not reference.startswith("#"):
            raise UnusableSchemaError(
                f"it refers to {reference[:_LONGEST_REASON]!r}, which is not in it; schemas are never "
                "fetched, so put what it means under $defs and refer to it with #/$defs/…"
            )
        yield reference


class CompiledSchemas:
    """Compiled schemas by content, those used last kept. Tools that come and go share them.

    Args:
        most: How many are kept.
        most_bytes: How long their texts may be together.
    """

    def __init__(self, most: int = MOST_COMPILED, most_bytes: int = MOST_COMPILED_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, tuple[bytes, Validator]] = OrderedDict()
        # Runtimes on several threads check arguments side by side.
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """How long the texts of what is kept are together, in bytes."""
        return self._bytes

    def validator(self, schema: InputSchema) -> "Validator":
        """What checks against a schema; compiled now, or kept from before."""
        with self._lock:
            found = self._kept.get(schema.key)
            if found is not None and found[0] == schema.text:
                self._kept.move_to_end(schema.key)
                return found[1]
        from referencing.jsonschema import EMPTY_REGISTRY

        # With a registry of its own nothing is ever fetched from where a schema says it lies.
        kind = _kind(schema.document)
        made = (kind if schema.patterns else _without_patterns(kind))(
            cast("dict[str, JsonValue]", schema.document), registry=EMPTY_REGISTRY
        )
        with self._lock:
            self._keep(schema, made)
        return made

    def _keep(self, schema: InputSchema, made: "Validator") -> None:
        if len(schema.text) > self._most_bytes:
            return
        before = self._kept.pop(schema.key, None)
        self._bytes -= len(before[0]) if before is not None else 0
        self._kept[schema.key] = (schema.text, made)
        self._bytes += len(schema.text)
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            _, (text, _) = self._kept.popitem(last=False)
            self._bytes -= len(text)


_compiled = CompiledSchemas()
