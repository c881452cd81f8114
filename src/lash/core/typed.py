"""One Python type read two ways: the JSON schema of what fits, and the function that reads it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lash.core.annotations import READ_ERRORS, AnnotationError, describe
from lash.core.errors import ConfigurationError, LashError
from lash.core.json import JsonObject, JsonValue
from lash.core.misfits import describe_misfits

_NAME = "value"
_DEFINED = "#/$defs/"


@dataclass(frozen=True, slots=True)
class TypedValue:
    """How values of a type are written in JSON.

    Attributes:
        json_schema: The schema of fitting JSON, complete with the types it refers to. It begins with
            what the value itself is, never with a reference: providers refuse those.
    """

    json_schema: JsonObject
    _schema: JsonObject
    _definitions: JsonObject
    _reader: Callable[[JsonValue], object]

    def read(self, value: JsonValue) -> object:
        """The value that JSON stands for.

        Raises:
            LashError: `value_not_of_type`, naming every part that does not fit.
        """
        try:
            return self._reader(value)
        except READ_ERRORS as error:
            misfits = describe_misfits(error, value, self._schema, self._definitions)
            problems = [f"`${each.path}`: {each.reason}" for each in misfits]
            raise LashError(
                "value_not_of_type",
                f"The value does not fit its type: {'; '.join(problems)}.",
                problems=problems,
            ) from error


def typed_value(annotation: object, what: str) -> TypedValue:
    """How values of `annotation` are written in JSON.

    Raises:
        ConfigurationError: `type_without_json`, naming `what` and the reason.
    """
    try:
        description = describe({_NAME: annotation})
    except AnnotationError as error:
        raise ConfigurationError(
            "type_without_json",
            f"{what} has a type without a JSON form: {error.reason}. Use numbers, text, lists, dicts, "
            "dates, enums, dataclasses, TypedDicts, msgspec structs or pydantic models.",
        ) from error
    schema: JsonObject = description.schemas[_NAME]
    complete = _complete(schema, description.definitions)
    return TypedValue(complete, schema, description.definitions, description.readers[_NAME])


def _complete(schema: JsonObject, definitions: JsonObject) -> JsonObject:
    """A schema with the definitions it needs, its root spelled out where it only refers to one."""
    reference = schema.get("$ref")
    root = definitions.get(str(reference).removeprefix(_DEFINED)) if len(schema) == 1 else None
    if not isinstance(root, Mapping):
        return {**schema, "$defs": definitions} if definitions else schema
    own = str(reference).removeprefix(_DEFINED)
    others = {name: each for name, each in definitions.items() if name != own}
    needed = definitions if _refers([root, *others.values()], reference) else others
    return {**root, "$defs": needed} if needed else root


def _refers(value: JsonValue, reference: JsonValue) -> bool:
    """Whether a schema refers to another anywhere."""
    if isinstance(value, Mapping):
        return value.get("$ref") == reference or any(
            _refers(each, reference) for each in value.values()
        )
    if isinstance(value, Sequence) and not isinstance(value, str):
        return any(_refers(each, reference) for each in value)
    return False
