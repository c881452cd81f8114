"""What projectors of schemas share: what stands against a schema and where, copies, types and merging."""

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from lash.core.json import Data, JsonObject, JsonValue, canonical

#: A schema under construction. Nobody else holds it.
Draft = dict[str, JsonValue]

#: Types of JSON by those of Python; what is none of these is an array. A bool is an int to Python.
_KINDS = (
    (bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (type(None), "null"),
    (Mapping, "object"),
)  # fmt: skip


class SchemaDiagnostic(Data):
    """What stands against a schema in a dialect.

    Attributes:
        dialect: The dialect.
        pointer: Where in the schema, as a JSON pointer; "" for the root.
        message: What it is.
    """

    dialect: str
    pointer: str
    message: str

    @property
    def text(self) -> str:
        """It in one line."""
        place = f" at {self.pointer}" if self.pointer else ""
        return f"{self.dialect}{place}: {self.message}"


class Diagnostics:
    """Collects what stands against a schema."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._all: list[SchemaDiagnostic] = []

    @property
    def all(self) -> tuple[SchemaDiagnostic, ...]:
        """All of it, in the order in which it was found."""
        return tuple(self._all)

    def add(self, pointer: str, message: str) -> None:
        """Something stands against the schema."""
        self._all.append(SchemaDiagnostic(dialect=self._dialect, pointer=pointer, message=message))


def plain_copy(schema: JsonObject) -> Draft:
    """A schema as plain data that shares nothing with the one given; members keep their order."""
    copied: Draft = msgspec.json.decode(msgspec.json.encode(schema))
    return copied


def step(pointer: str, name: str | int) -> str:
    """The pointer of a member."""
    return f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"


def const_as_enum(schema: Draft) -> None:
    """Say a constant as the only value of an enum."""
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]


def infer_type(schema: Draft, *, root: bool) -> None:
    """Say the type that a schema means and leaves unsaid. A schema that talks of members means an object."""
    if "type" in schema or "$ref" in schema:
        return
    kind = _kind_of_enum(schema.get("enum"))
    if root or any(each in schema for each in ("properties", "required", "additionalProperties")):
        kind = "object"
    elif "items" in schema or "prefixItems" in schema:
        kind = "array"
    if kind is not None:
        schema["type"] = kind


def _kind_of_enum(values: JsonValue) -> str | None:
    if not isinstance(values, list):
        return None
    kinds = {_kind(value) for value in cast("Sequence[JsonValue]", values)}
    if kinds == {"integer", "number"}:
        return "number"
    return kinds.pop() if len(kinds) == 1 else None


def _kind(value: JsonValue) -> str:
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "array")


def merge_single_all_of(schema: Draft, pointer: str, found: Diagnostics) -> None:
    """Put the only branch of an `allOf` in place of it, as often as there is one."""
    while isinstance(branches := schema.get("allOf"), list) and len(branches) == 1:
        branch = branches[0]
        if not isinstance(branch, dict):
            return
        if not merge(schema, "allOf", branch, pointer, found):
            return


def merge(schema: Draft, keyword: str, branch: Draft, pointer: str, found: Diagnostics) -> bool:
    """Put what a keyword stands for in place of it; refused where both say something different."""
    clash = [
        name
        for name, value in branch.items()
        if name in schema and name != keyword and canonical(schema[name]) != canonical(value)
    ]
    if clash:
        found.add(pointer, f"`{keyword}` cannot be merged: {', '.join(clash)} is said twice")
        return False
    del schema[keyword]
    for name, value in branch.items():
        schema[name] = value
    return True


def note(schema: Draft, words: str, removed: Mapping[str, JsonValue]) -> None:
    """Say in the description what the schema does not say any more."""
    if not removed:
        return
    listed = ", ".join(f"{name}={canonical(value).decode()}" for name, value in removed.items())
    said = schema.get("description")
    before = f"{said} " if isinstance(said, str) and said else ""
    schema["description"] = f"{before}({words}: {listed})"
