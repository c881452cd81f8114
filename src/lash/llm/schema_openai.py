"""Schemas as OpenAI takes them: no negations and conditions, and in strict profiles nothing optional."""

from dataclasses import dataclass

from lash.core.json import JsonObject, JsonValue
from lash.core.schema_values import admits_null, resolved
from lash.llm.schema_diagnostics import (
    Diagnostics,
    Draft,
    const_as_enum,
    infer_type,
    merge,
    merge_single_all_of,
    note,
    plain_copy,
    step,
)

_REJECTED = (
    "allOf", "oneOf", "not", "dependentRequired", "dependentSchemas", "if", "then", "else",
    "patternProperties",
)  # fmt: skip
_BY_NAME = ("properties", "$defs", "definitions")

#: Keywords that say nothing about a value; they stay outside when a schema is wrapped into a union.
_ANNOTATIONS = ("title", "description")


@dataclass(frozen=True, slots=True)
class Profile:
    """What a dialect asks for.

    Attributes:
        strict: Every property is required, those that were optional may be null; objects are closed.
        root_union: The root may have an `anyOf`.
    """

    strict: bool
    root_union: bool


def projected(schema: Draft, profile: Profile, found: Diagnostics) -> Draft:
    """A schema in one of the dialects. `schema` is changed."""
    _resolve_root(schema, found)
    _Projection(profile, found, schema).project(schema, "", root=True)
    if not profile.root_union and "anyOf" in schema:
        found.add("", "the root must not be an `anyOf`")
    if schema.get("type") != "object":
        found.add("", "the root must be an object")
    return schema


def _resolve_root(schema: Draft, found: Diagnostics) -> None:
    """Put what the root refers to in its place: a root that is a reference has no type."""
    seen: set[str] = set()
    while isinstance(reference := schema.get("$ref"), str) and reference not in seen:
        seen.add(reference)
        target = resolved(reference, schema)
        if not isinstance(target, dict) or target is schema:
            return
        if not merge(schema, "$ref", plain_copy(target), "", found):
            return


class _Projection:
    def __init__(self, profile: Profile, found: Diagnostics, root: JsonObject) -> None:
        self._strict = profile.strict
        self._found = found
        self._root = root

    def project(self, schema: Draft, pointer: str, *, root: bool = False) -> None:
        """Project a schema in place."""
        merge_single_all_of(schema, pointer, self._found)
        const_as_enum(schema)
        infer_type(schema, root=root)
        for keyword in _REJECTED:
            if keyword in schema:
                self._found.add(pointer, f"`{keyword}` is not taken")
        if self._strict:
            self._close(schema, pointer, root=root)
        for keyword in _BY_NAME:
            members = schema.get(keyword)
            if isinstance(members, dict):
                for name, inner in members.items():
                    self._inner(inner, step(step(pointer, keyword), name))
        for keyword in ("items", "additionalProperties"):
            self._inner(schema.get(keyword), step(pointer, keyword))
        for keyword in ("anyOf", "prefixItems"):
            self._inner(schema.get(keyword), step(pointer, keyword))

    def _inner(self, schema: JsonValue, pointer: str) -> None:
        if isinstance(schema, list):
            for index, each in enumerate(schema):
                self._inner(each, step(pointer, index))
        elif isinstance(schema, dict):
            self.project(schema, pointer)

    def _close(self, schema: Draft, pointer: str, *, root: bool) -> None:
        """Require every property of an object, and allow no other."""
        if "default" in schema:
            # Nothing is left out, so nothing is put in; what would be is worth knowing all the same.
            note(schema, "Unless said otherwise", {"default": schema.pop("default")})
        kind = schema.get("type")
        if kind != "object" and not (isinstance(kind, list) and "object" in kind):
            return
        properties, rest = schema.get("properties"), schema.get("additionalProperties")
        if isinstance(rest, dict):
            self._found.add(pointer, "an object with free keys cannot be closed")
            return
        if not isinstance(properties, dict):
            if rest is not False and not root:
                self._found.add(pointer, "an object that says nothing of its keys cannot be closed")
                return
            properties = schema["properties"] = {}
        required = schema.get("required")
        needed = required if isinstance(required, list) else []
        for name in properties:
            if name not in needed:
                properties[name] = self._nullable(properties[name])
        undeclared = [name for name in needed if name not in properties]
        if undeclared:
            self._found.add(
                pointer, f"required but not described: {', '.join(map(str, undeclared))}"
            )
        schema["required"] = list(properties)
        schema["additionalProperties"] = False

    def _nullable(self, schema: JsonValue) -> JsonValue:
        """A schema that null fits as well."""
        if not isinstance(schema, dict):
            return {"type": "null"} if schema is False else schema
        if admits_null(schema, self._root):
            return schema
        kind, null = schema.get("type"), {"type": "null"}
        bare = not any(each in schema for each in ("enum", "const", "$ref", "anyOf", "allOf"))
        if isinstance(kind, str) and bare:
            return {**schema, "type": [kind, "null"]}
        if isinstance(kind, list) and bare:
            return {**schema, "type": [*kind, "null"]}
        branches = schema.get("anyOf")
        alone = {"anyOf", "default", *_ANNOTATIONS}.issuperset(schema)
        if isinstance(branches, list) and alone:
            return {**schema, "anyOf": [*branches, null]}
        outside = {name: schema[name] for name in _ANNOTATIONS if name in schema}
        inside = {name: value for name, value in schema.items() if name not in _ANNOTATIONS}
        return {"anyOf": [inside, null], **outside}
