"""Type annotations read two ways: the JSON schema of what fits, and the function that reads it.

msgspec reads annotations. One that speaks pydantic anywhere (a model, a `Field`) is pydantic's to
read, unless pydantic cannot; then msgspec reads it and hands the models inside it to pydantic. A
reader that does not know the other's constraints declines them: none is ever dropped in silence.
pydantic is imported only when an annotation of the user's speaks it.
"""

import itertools
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args, get_origin

import msgspec

from lash.core.json import JsonObject, JsonValue, encode
from lash.core.misfits import MisfitError, pydantic_misfits

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic.json_schema import GenerateJsonSchema

    _Adapter = TypeAdapter[Any]

#: A schema under construction.
_Schema = dict[str, Any]
#: What a reader may raise for JSON that does not fit. `TypeError` covers, for one, an unhashable set
#: item, `ArithmeticError` a number outside the range of its type.
READ_ERRORS = (ValueError, TypeError, ArithmeticError, RecursionError)

_META_CONSTRAINTS = (
    "gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a set of annotations means in JSON.

    Attributes:
        schemas: The schema of each annotation.
        definitions: The schemas of the named types they refer to as `#/$defs/<name>`.
        readers: The function of each annotation that turns fitting JSON into a value; for other
            JSON it raises one of `READ_ERRORS`.
    """

    schemas: Mapping[str, _Schema]
    definitions: JsonObject
    readers: Mapping[str, Callable[[JsonValue], object]]


class AnnotationError(TypeError):
    """The annotation `name` has no JSON form, for `reason`."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"{name}: {reason}")


class _NameTakenError(Exception):
    """Two different types would share a name in the definitions."""


def describe(annotations: Mapping[str, object]) -> Description:
    """Describe all annotations together, so that a type used twice is defined once.

    Raises:
        AnnotationError: One of them has no JSON form.
    """
    adapters = {name: _pydantic_reader(name, each) for name, each in annotations.items()}
    try:
        return _describe(annotations, adapters, numbered=False)
    except _NameTakenError:
        return _describe(annotations, adapters, numbered=True)


def explain(annotation: object) -> str:
    """Find what `Annotated` says of a parameter, also inside `Annotated[...] | None`; or `""`."""
    if get_origin(annotation) is Annotated:
        inner, *notes = get_args(annotation)
        for note in notes:
            text = note if isinstance(note, str) else None
            text = text or getattr(note, "description", None)  # msgspec.Meta, pydantic.Field
            text = text or getattr(note, "documentation", None)  # typing_extensions.Doc
            if isinstance(text, str):
                return text
        return explain(inner)
    if type(None) in get_args(annotation):
        return next(filter(None, map(explain, get_args(annotation))), "")
    return ""


def _describe(
    annotations: Mapping[str, object], adapters: Mapping[str, "_Adapter | None"], *, numbered: bool
) -> Description:
    definitions: dict[str, _Schema] = {}
    nested: dict[type, _Adapter] = {}
    numbers = itertools.count(1)

    def by_pydantic(adapter: "_Adapter") -> _Schema:
        # No class name holds a dot before a number, so numbered names are free.
        suffix = f".{next(numbers)}" if numbered else ""
        schema = _pydantic_schema(adapter, f"#/$defs/{{model}}{suffix}")
        for name, definition in schema.pop("$defs", {}).items():
            if definitions.setdefault(name + suffix, definition) != definition:
                raise _NameTakenError
        return schema

    def inside_msgspec(kind: type) -> _Schema:
        if not _speaks_pydantic(kind):
            raise NotImplementedError  # msgspec then says that the type is not supported
        nested[kind] = _adapter(kind)
        return by_pydantic(nested[kind])

    names = [name for name, adapter in adapters.items() if adapter is None]
    plain, components = msgspec.json.schema_components(
        [annotations[name] for name in names], schema_hook=inside_msgspec
    )
    schemas = dict(zip(names, plain, strict=True))
    for name, adapter in adapters.items():
        if adapter is not None:
            schemas[name] = by_pydantic(adapter)
    if definitions.keys() & components.keys():
        raise _NameTakenError
    definitions = {**components, **definitions}
    _order_defaults([*schemas.values(), *definitions.values()])
    return Description(
        schemas=schemas,
        definitions=dict(sorted(definitions.items())),
        readers={
            name: partial(_read_pydantic, adapter)
            if adapter
            else partial(_read_msgspec, annotations[name], nested)
            for name, adapter in adapters.items()
        },
    )


def _read_msgspec(
    annotation: object, nested: "Mapping[type, _Adapter]", value: JsonValue
) -> object:
    def read_model(kind: type, inner: JsonValue) -> object:
        return _read_pydantic(nested[kind], inner)

    return msgspec.convert(
        value, type=cast("type[object]", annotation), dec_hook=read_model, str_keys=True
    )


def _read_pydantic(adapter: "_Adapter", value: JsonValue) -> object:
    from pydantic import ValidationError

    try:
        # Strict as JSON, not as Python: a date may be a string, a number may not.
        return cast("object", adapter.validate_json(encode(value), strict=True))
    except ValidationError as error:
        raise MisfitError(pydantic_misfits(error, value)) from error


def _pydantic_reader(name: str, annotation: object) -> "_Adapter | None":
    """Give the pydantic reader of an annotation, or None if msgspec reads it.

    Raises:
        AnnotationError: Neither can.
    """
    parts = list(_parts(annotation, set()))
    reason = ""
    if any(map(_speaks_pydantic, parts)):
        if any(map(_constrains_msgspec, parts)):
            reason = "it mixes constraints of msgspec.Meta with pydantic"
        else:
            try:
                adapter = _adapter(annotation)
                _pydantic_schema(adapter, "{model}")
                return adapter
            except _pydantic_refusals() as error:
                reason = str(error).splitlines()[0]
        if any(map(_constrains_pydantic, parts)):
            raise AnnotationError(name, reason)
    try:
        _describe({name: annotation}, {name: None}, numbered=True)
    except (TypeError, ValueError, NameError, AttributeError, RecursionError) as error:
        # msgspec says the type in the last line, after advice on its own parameters.
        raise AnnotationError(name, reason or str(error).splitlines()[-1]) from error
    return None


def _parts(annotation: object, seen: set[type]) -> Iterator[object]:
    """Walk the types and notes an annotation is made of, through the fields of plain classes."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from arguments[1:]
        yield from _parts(arguments[0], seen)
    elif origin is not None:
        inner = () if origin is Literal else arguments
        for part in (origin, *inner):
            yield from _parts(part, seen)
    elif isinstance(annotation, type) and annotation not in seen:
        seen.add(annotation)
        yield annotation
        if not _speaks_pydantic(annotation):  # what stands inside a model is the model's business
            for field in _fields(annotation):
                yield from _parts(field, seen)
    elif supertype := getattr(annotation, "__supertype__", None):  # a NewType
        yield from _parts(supertype, seen)


def _fields(kind: type) -> list[object]:
    try:
        return list(typing.get_type_hints(kind, include_extras=True).values())
    except (NameError, TypeError, AttributeError):
        return []  # the reader meets the same trouble if the class matters, and reports it


def _speaks_pydantic(part: object) -> bool:
    if isinstance(part, type):
        return (
            hasattr(part, "__get_pydantic_core_schema__")
            or hasattr(part, "__pydantic_core_schema__")
            or (hasattr(part, "model_validate") and hasattr(part, "model_json_schema"))
        )
    return type(part).__module__.partition(".")[0] in {"pydantic", "annotated_types"}


def _constrains_pydantic(part: object) -> bool:
    if isinstance(part, type) or not _speaks_pydantic(part):
        return False
    # A Field may merely describe; everything else pydantic puts into Annotated constrains.
    merely_describes = not (getattr(part, "metadata", True) or getattr(part, "discriminator", None))
    return not merely_describes


def _constrains_msgspec(part: object) -> bool:
    return isinstance(part, msgspec.Meta) and any(
        getattr(part, name) is not None for name in _META_CONSTRAINTS
    )


def _adapter(annotation: object) -> "_Adapter":
    from pydantic import TypeAdapter

    return TypeAdapter(cast("type[object]", annotation))


def _pydantic_refusals() -> tuple[type[Exception], ...]:
    try:
        from pydantic import errors
    except ModuleNotFoundError:  # annotated_types alone is installed: nobody reads its constraints
        return (ModuleNotFoundError,)
    return (errors.PydanticUserError, errors.PydanticUndefinedAnnotation, TypeError, NameError)


def _pydantic_schema(adapter: "_Adapter", ref_template: str) -> _Schema:
    return adapter.json_schema(ref_template=ref_template, schema_generator=_schema_generator())


@cache
def _schema_generator() -> "type[GenerateJsonSchema]":
    from pydantic.json_schema import GenerateJsonSchema

    class Terse(GenerateJsonSchema):
        """Leaves out the titles that repeat field names: every request to a model carries them."""

        # A default without JSON form is left out here as everywhere else, without a warning.
        ignored_warning_types = frozenset({"skipped-choice", "non-serializable-default"})

        def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002
            return False

    return Terse


def _order_defaults(schemas: list[_Schema]) -> None:
    """Sort the defaults that are sets: their order in Python differs from run to run."""
    for schema in schemas:
        branches = [schema, *schema.get("anyOf", ())]
        default = schema.get("default")
        if isinstance(default, list) and any(branch.get("uniqueItems") for branch in branches):
            default.sort(key=encode)
        inner = [schema.get("items"), schema.get("additionalProperties")]
        inner += [*branches[1:], *schema.get("prefixItems", ())]
        inner += schema.get("properties", {}).values()
        _order_defaults([each for each in inner if isinstance(each, dict)])
