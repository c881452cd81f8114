"""JSON values read beside the schema they are to fit: nulls for what was left out, whole numbers as floats.

Both are read from the schema as it is written, so a union is decided by what shows from outside: the
type, the required members, and constants such as tags.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from lash.core.json import JsonObject, JsonValue

#: A value or a chain of references deeper than this is left as it is.
_DEEPEST = 100
_KINDS: Mapping[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "integer": (int, float),
    "number": (int, float),
    "string": (str,),
    "array": (list, tuple),
    "object": (Mapping,),
}


def admits_null(schema: JsonValue, root: JsonObject) -> bool:
    """Whether null may fit a schema, as far as its types, constants and unions tell.

    Args:
        schema: The schema.
        root: The whole document, which references in it begin from.
    """
    return _may_fit(None, schema, root, 0)


def without_optional_nulls(value: JsonValue, schema: JsonValue, root: JsonObject) -> JsonValue:
    """The value without the nulls that stand for what was left out; the same object if there are none.

    Left out is a null member of an object that the schema neither requires nor lets be null.
    """
    return _without_nulls(value, schema, root, 0)


def with_whole_numbers(value: JsonValue, schema: JsonValue, root: JsonObject) -> JsonValue:
    """The value with integers that came as `1.0` made `1`; the same object if there are none."""
    return _with_integers(value, schema, root, 0)


def resolved(reference: JsonValue, root: JsonObject) -> JsonValue:
    """What a reference within the document (`#/…`) points at; True, which anything fits, if nothing."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return True
    found: JsonValue = root
    for step in reference[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = cast("JsonValue", found[int(name)])
        else:
            return True
    return found


def _without_nulls(value: JsonValue, schema: JsonValue, root: JsonObject, depth: int) -> JsonValue:
    for each in _chosen(value, schema, root, depth):
        if isinstance(value, Mapping):
            value = _members_without_nulls(value, each, root, depth)
        elif isinstance(value, list):
            kept = [
                _without_nulls(item, inner, root, depth + 1)
                for item, inner in zip(value, _items(each, len(value)), strict=True)
            ]
            value = kept if _changed(kept, value) else value
    return value


def _members_without_nulls(
    value: JsonObject, schema: JsonObject, root: JsonObject, depth: int
) -> JsonObject:
    properties, required = _mapping(schema.get("properties")), _sequence(schema.get("required"))
    kept: dict[str, JsonValue] = {}
    for name, item in value.items():
        inner = _member(schema, name)
        declared = name in properties and name not in required
        if item is None and declared and not admits_null(inner, root):
            continue
        kept[name] = _without_nulls(item, inner, root, depth + 1)
    same = len(kept) == len(value) and not _changed(kept.values(), value.values())
    return value if same else kept


def _with_integers(value: JsonValue, schema: JsonValue, root: JsonObject, depth: int) -> JsonValue:
    chosen = list(_chosen(value, schema, root, depth))
    if isinstance(value, float) and value.is_integer():
        kinds = [kind for each in chosen for kind in _types(each)]
        return int(value) if "integer" in kinds and "number" not in kinds else value
    for each in chosen:
        if isinstance(value, Mapping):
            members = {
                name: _with_integers(item, _member(each, name), root, depth + 1)
                for name, item in value.items()
            }
            value = members if _changed(members.values(), value.values()) else value
        elif isinstance(value, list):
            items = [
                _with_integers(item, inner, root, depth + 1)
                for item, inner in zip(value, _items(each, len(value)), strict=True)
            ]
            value = items if _changed(items, value) else value
    return value


def _chosen(
    value: JsonValue, schema: JsonValue, root: JsonObject, depth: int
) -> Iterator[JsonObject]:
    """The schemas that speak about a value: itself, what it refers to, the branch of each union."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return
    yield schema
    inner: list[JsonValue] = [*_sequence(schema.get("allOf"))]
    if "$ref" in schema:
        inner.append(resolved(schema["$ref"], root))
    for union in ("anyOf", "oneOf"):
        branches = _sequence(schema.get(union))
        inner += [each for each in branches if _may_fit(value, each, root, depth)][:1]
    for each in inner:
        yield from _chosen(value, each, root, depth + 1)


def _may_fit(value: JsonValue, schema: JsonValue, root: JsonObject, depth: int) -> bool:
    """Whether nothing that shows from outside speaks against a value."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return schema is not False
    inner = [*_sequence(schema.get("allOf"))]
    if "$ref" in schema:
        inner.append(resolved(schema["$ref"], root))
    unions = [_sequence(schema[union]) for union in ("anyOf", "oneOf") if union in schema]
    return (
        _says_nothing_against(value, schema)
        and (not isinstance(value, Mapping) or _members_may_fit(value, schema, root, depth))
        and all(_may_fit(value, each, root, depth + 1) for each in inner)
        and all(any(_may_fit(value, each, root, depth + 1) for each in union) for union in unions)
    )


def _says_nothing_against(value: JsonValue, schema: JsonObject) -> bool:
    """Whether a value is of the type, and one of the constants, that a schema asks for."""
    kinds = _types(schema)
    if kinds and not any(_is_kind(value, kind) for kind in kinds):
        return False
    if "const" in schema and not _same(value, schema["const"]):
        return False
    return "enum" not in schema or any(_same(value, each) for each in _sequence(schema["enum"]))


def _members_may_fit(value: JsonObject, schema: JsonObject, root: JsonObject, depth: int) -> bool:
    if any(name not in value for name in _sequence(schema.get("required"))):
        return False
    properties = _mapping(schema.get("properties"))
    if schema.get("additionalProperties") is False and any(
        name not in properties for name in value
    ):
        return False
    required = _sequence(schema.get("required"))
    return all(
        (value[name] is None and name not in required)
        or _may_fit(value[name], inner, root, depth + 1)
        for name, inner in properties.items()
        if name in value
    )


def _is_kind(value: JsonValue, kind: JsonValue) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, float) and kind == "integer":
        return value.is_integer()
    return isinstance(value, _KINDS.get(str(kind), (object,)))


def _same(left: JsonValue, right: JsonValue) -> bool:
    """Equal as JSON: 1 is 1.0, and neither is true."""
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def _types(schema: JsonObject) -> Sequence[JsonValue]:
    kind = schema.get("type")
    return [kind] if isinstance(kind, str) else _sequence(kind)


def _member(schema: JsonObject, name: str) -> JsonValue:
    properties = _mapping(schema.get("properties"))
    return properties[name] if name in properties else schema.get("additionalProperties", True)


def _items(schema: JsonObject, count: int) -> list[JsonValue]:
    """The schema of each item of an array."""
    rest = schema.get("items", True)
    leading = list(_sequence(schema.get("prefixItems")))
    if isinstance(rest, list):  # how older drafts write what newer ones call prefixItems
        leading, rest = rest, schema.get("additionalItems", True)
    return [leading[index] if index < len(leading) else rest for index in range(count)]


def _changed(new: "Sequence[JsonValue] | object", old: "Sequence[JsonValue] | object") -> bool:
    pairs = zip(cast("Sequence[object]", new), cast("Sequence[object]", old), strict=True)
    return any(left is not right for left, right in pairs)


def _mapping(value: JsonValue) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: JsonValue) -> Sequence[JsonValue]:
    return cast("Sequence[JsonValue]", value) if isinstance(value, list | tuple) else ()
