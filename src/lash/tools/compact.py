"""A tool's contract in short, for prompts: one signature line instead of two JSON schemas. Pure."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from lash.core.json import Data, JsonObject, JsonValue, canonical
from lash.core.schema_values import resolved

#: How many examples are shown, and how long one may be.
MOST_EXAMPLES = 2
LONGEST_EXAMPLE = 240
_CUT = "..."

_LABELS: Mapping[str, str] = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "object": "record",
    "null": "null",
}
_CONSTRAINTS: Mapping[str, str] = {
    "minimum": ">=",
    "maximum": "<=",
    "minLength": "min_len",
    "maxLength": "max_len",
    "minItems": "min_items",
    "maxItems": "max_items",
}
_ANYTHING = "any"

#: How many references are followed one into the other.
_DEEPEST = 16


class StaticOutput(Data, tag_field="kind", tag="static"):
    """What comes out is always of the output schema."""


class OutputFromInput(Data, tag_field="kind", tag="from_input_schema"):
    """What comes out is of the schema that one of the arguments gives.

    Attributes:
        input_field: The argument.
        default_schema: The schema if none is given.
    """

    input_field: str
    default_schema: JsonValue = None


OutputContract: TypeAlias = StaticOutput | OutputFromInput


class CompactField(Data):
    """A parameter, or a field of what comes out.

    Attributes:
        name: Its name.
        type: Its type, as the signature says it.
        required: Whether it is always there.
        constraints: What else holds of it, such as `>= 1`.
        default: What it is when left out, as JSON; "" for none.
        description: What it means.
    """

    name: str
    type: str
    required: bool = True
    constraints: tuple[str, ...] = ()
    default: str = ""
    description: str = ""

    @property
    def text(self) -> str:
        """It as the signature says it."""
        words = [f"{self.name}{'' if self.required else '?'}: {self.type}", *self.constraints]
        return " ".join([*words, f"= {self.default}"] if self.default else words)


class CompactToolContract(Data):
    """A tool's contract in short.

    Attributes:
        name: The tool.
        signature: How it is called: `name({ a: str, b?: int >= 1 = 5 })`.
        returns: The type of what comes out.
        parameters: Required ones first, in their order, then the others by name.
        return_fields: The fields of what comes out, if it is a record.
        description: What it does.
        examples: A few calls or answers.
    """

    name: str
    signature: str
    returns: str
    parameters: tuple[CompactField, ...] = ()
    return_fields: tuple[CompactField, ...] = ()
    description: str = ""
    examples: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """It in one line of a list."""
        said = f"- `{self.signature}`"
        return f"{said} — {self.description}" if self.description else said


def compact_contract(
    name: str,
    description: str,
    input_schema: JsonObject,
    *,
    output_schema: JsonValue = None,
    output: OutputContract | None = None,
    examples: Sequence[JsonValue] = (),
) -> CompactToolContract:
    """A tool's contract in short.

    Args:
        name: The tool.
        description: What it does.
        input_schema: The schema of its arguments.
        output_schema: The schema of what comes out; None leaves it open.
        output: Whether what comes out depends on an argument.
        examples: Texts, or values that are shown as JSON.
    """
    reader = _Reader(input_schema)
    parameters = reader.fields(input_schema)
    generic, returns, fields = "", _ANYTHING, tuple[CompactField, ...]()
    if isinstance(output, OutputFromInput):
        generic = f"<T = {_alone(output.default_schema)}>" if output.default_schema else "<T>"
        returns = "T"
        parameters = tuple(
            _type_parameter(each) if each.name == output.input_field else each
            for each in parameters
        )
    elif isinstance(output_schema, Mapping):
        returns, fields = _alone(output_schema), _Reader(output_schema).fields(output_schema)
    inside = ", ".join(each.text for each in parameters)
    return CompactToolContract(
        name=name,
        signature=f"{name}{generic}({{ {inside} }})" if inside else f"{name}{generic}({{}})",
        returns=returns,
        parameters=parameters,
        return_fields=fields,
        description=description,
        examples=tuple(_example(each) for each in examples[:MOST_EXAMPLES]),
    )


def _type_parameter(field: CompactField) -> CompactField:
    return CompactField(
        name=field.name,
        type="TypeSpec<T>",
        required=field.required,
        description=field.description,
    )


class _Reader:
    """Reads the parts of one document; what they refer to is read in their place."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root

    def fields(self, schema: JsonObject) -> tuple[CompactField, ...]:
        """The members of an object: required ones in their order, then the others by name."""
        schema, above = self._opened(schema, ())
        properties, required = schema.get("properties"), schema.get("required")
        if not isinstance(properties, Mapping):
            return ()
        needed = [str(each) for each in required] if isinstance(required, list) else []
        names = [each for each in dict.fromkeys(needed) if each in properties]
        optional = sorted(each for each in properties if each not in needed)
        return tuple(
            self._field(each, properties[each], above, required=each in needed)
            for each in [*names, *optional]
        )

    def label(self, schema: JsonValue, above: tuple[str, ...] = ()) -> str:
        """The type of a schema; null last."""
        labels = list(dict.fromkeys(self._labels(schema, above)))
        if _ANYTHING in labels:
            return _ANYTHING
        return " | ".join(sorted(labels, key="null".__eq__)) or _ANYTHING

    def _field(
        self, name: str, schema: JsonValue, above: tuple[str, ...], *, required: bool
    ) -> CompactField:
        if not isinstance(schema, Mapping):
            return CompactField(name=name, type=_ANYTHING, required=required)
        schema, above = self._opened(schema, above)
        description = schema.get("description")
        return CompactField(
            name=name,
            type=self.label(schema, above),
            required=required,
            constraints=self._constraints(schema, above),
            default=_json(schema["default"]) if "default" in schema else "",
            description=description if isinstance(description, str) else "",
        )

    def _constraints(self, schema: JsonObject, above: tuple[str, ...]) -> tuple[str, ...]:
        """What holds of a value besides its type; of one that may be null, what holds otherwise."""
        branches = [each for each in _union(schema) or () if each != {"type": "null"}]
        if len(branches) == 1 and isinstance(branches[0], Mapping):
            schema, _ = self._opened(branches[0], above)
        found = [
            f"{words} {_json(schema[name])}"
            for name, words in _CONSTRAINTS.items()
            if name in schema
        ]
        values = _values(schema)
        if values and not _are_texts(values):
            listed = ", ".join(_json(each) for each in values if each is not None)
            found.insert(0, f"in [{listed}]")
        return tuple(found)

    def _labels(self, schema: JsonValue, above: tuple[str, ...]) -> list[str]:
        if not isinstance(schema, Mapping):
            return [_ANYTHING]
        schema, above = self._opened(schema, above)
        branches = _union(schema)
        if branches is not None:
            return [label for each in branches for label in self._labels(each, above)]
        values = _values(schema)
        if values and _are_texts(values):
            texts = ", ".join(_json(each) for each in values if each is not None)
            return [f"enum[{texts}]", *(["null"] if None in values else [])]
        kinds = schema.get("type", [])
        if kinds:
            named = kinds if isinstance(kinds, list) else [kinds]
            return [self._named(str(each), schema, above) for each in named]
        silent = "record" if "properties" in schema else _ANYTHING
        return [_kind(each) for each in values] or [silent]

    def _named(self, kind: str, schema: JsonObject, above: tuple[str, ...]) -> str:
        if kind == "array":
            return f"list[{self.label(schema.get('items', {}), above)}]"
        return _LABELS.get(kind, _ANYTHING)

    def _opened(
        self, schema: JsonObject, above: tuple[str, ...]
    ) -> tuple[JsonObject, tuple[str, ...]]:
        """A schema with what it refers to in place; `{}` where it would go on for ever."""
        while isinstance(reference := schema.get("$ref"), str):
            beside = {name: each for name, each in schema.items() if name != "$ref"}
            if reference in above or len(above) > _DEEPEST:
                return beside, above
            target = resolved(reference, self._root)
            schema = {**target, **beside} if isinstance(target, Mapping) else beside
            above = (*above, reference)
        return schema, above


def _alone(schema: JsonValue) -> str:
    """The type of a schema that is a document of its own."""
    return _Reader(schema).label(schema) if isinstance(schema, Mapping) else _ANYTHING


def _union(schema: JsonObject) -> Sequence[JsonValue] | None:
    """The branches of a union, which an `allOf` of one branch is as well."""
    for union in ("anyOf", "oneOf", "allOf"):
        branches = schema.get(union)
        if isinstance(branches, list) and branches and "type" not in schema:
            return branches if union != "allOf" or len(branches) == 1 else None
    return None


def _values(schema: JsonObject) -> Sequence[JsonValue]:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else ()


def _are_texts(values: Sequence[JsonValue]) -> bool:
    return all(isinstance(each, str) or each is None for each in values) and any(values)


def _kind(value: JsonValue) -> str:
    kinds = {bool: "bool", int: "int", float: "float", str: "str", type(None): "null"}
    return kinds.get(type(value), "record" if isinstance(value, Mapping) else f"list[{_ANYTHING}]")


def _json(value: JsonValue) -> str:
    return canonical(value).decode()


def _example(value: JsonValue) -> str:
    text = value if isinstance(value, str) else _json(value)
    return text if len(text) <= LONGEST_EXAMPLE else text[: LONGEST_EXAMPLE - len(_CUT)] + _CUT
