"""Schemas as Anthropic takes them: limits on values go into descriptions, the model is told of them."""

from lash.core.json import JsonValue
from lash.llm.schema_diagnostics import (
    Diagnostics,
    Draft,
    const_as_enum,
    infer_type,
    merge_single_all_of,
    note,
)

#: What is taken out, and told in the description.
_REMOVED = (
    "minItems", "maxItems", "uniqueItems", "minLength", "maxLength", "pattern", "format",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
)  # fmt: skip
_UNIONS = ("anyOf", "oneOf", "allOf")
_BY_NAME = ("properties", "$defs", "definitions")

#: How what was taken out is introduced.
_WORDS = "Further constraints"


def projected(schema: Draft, *, tool_input: bool, found: Diagnostics) -> Draft:
    """A schema of tool input, or of structured output. `schema` is changed."""
    if tool_input:
        _root_of_tool(schema, found)
    _Projection(limited=_says_limits(schema)).project(schema, root=True)
    return schema


def _root_of_tool(schema: Draft, found: Diagnostics) -> None:
    """The input of a tool is an object, and no union at its root."""
    merge_single_all_of(schema, "", found)
    if schema.get("type", "object") != "object":
        found.add("", "the root must be an object")
    unions = [union for union in _UNIONS if union in schema]
    if unions and "properties" not in schema:
        found.add("", f"the root must not be a union (`{unions[0]}`)")
    elif unions:
        # What the union adds to the properties is checked all the same, against the canonical schema.
        note(schema, _WORDS, {union: schema.pop(union) for union in unions})


def _says_limits(schema: JsonValue) -> bool:
    """Whether anything in a schema may be taken out of it. A property of such a name is taken for it."""
    if isinstance(schema, dict):
        return any(name in _REMOVED or _says_limits(each) for name, each in schema.items())
    return isinstance(schema, list) and any(map(_says_limits, schema))


class _Projection:
    """Projects one document.

    Args:
        limited: Whether limits are taken out of it anywhere, so that what is referred to may accept more.
    """

    def __init__(self, *, limited: bool) -> None:
        self._limited = limited

    def project(self, schema: Draft, *, root: bool = False) -> bool:
        """Project a schema in place; tells whether it may accept more than before."""
        const_as_enum(schema)
        infer_type(schema, root=root and not any(union in schema for union in _UNIONS))
        removed = {name: schema.pop(name) for name in _REMOVED if name in schema}
        note(schema, _WORDS, removed)
        wider = [bool(removed), self._limited and "$ref" in schema]
        for keyword in _BY_NAME:
            members = schema.get(keyword)
            wider += map(self._inner, members.values()) if isinstance(members, dict) else ()
        wider += [self._inner(schema.get(each)) for each in ("items", "additionalProperties")]
        for keyword in ("prefixItems", *_UNIONS):
            branches = schema.get(keyword)
            if self._inner(branches):
                wider.append(True)
                if keyword == "oneOf" and isinstance(branches, list):
                    _any_of_instead(schema, branches)
        return any(wider)

    def _inner(self, schema: JsonValue) -> bool:
        if isinstance(schema, list):
            return any([self._inner(each) for each in schema])  # noqa: C419  all of them are projected
        return self.project(schema) if isinstance(schema, dict) else False


def _any_of_instead(schema: Draft, branches: list[JsonValue]) -> None:
    """A value may fit several branches now that limits are gone, and `oneOf` would refuse it."""
    del schema["oneOf"]
    if "anyOf" not in schema:
        schema["anyOf"] = branches
        return
    every = schema.get("allOf")
    both: list[JsonValue] = [*every] if isinstance(every, list) else []
    schema["allOf"] = [*both, {"anyOf": branches}]
