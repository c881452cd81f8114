"""One Python type read two ways: the JSON schema of what fits, and the function that reads it."""

from collections.abc import Callable
from dataclasses import dataclass

from lash.core.annotations import READ_ERRORS, AnnotationError, describe
from lash.core.errors import ConfigurationError, LashError
from lash.core.json import JsonObject, JsonValue
from lash.core.misfits import describe_misfits

_NAME = "value"


@dataclass(frozen=True, slots=True)
class TypedValue:
    """How values of a type are written in JSON.

    Attributes:
        json_schema: The schema of fitting JSON, complete with the types it refers to.
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
    complete = dict(schema)
    if description.definitions:
        complete["$defs"] = description.definitions
    return TypedValue(complete, schema, description.definitions, description.readers[_NAME])
