"""Which signatures become a schema, and how arguments are taken."""

import dataclasses
import functools
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import pydantic
import pytest

from lash.core.errors import ConfigurationError, LashError
from lash.core.schema import CallSchema, call_schema


class Context:
    pass


class SpecialContext(Context):
    pass


T = TypeVar("T")


class GenericContext(Context, Generic[T]):
    pass


@dataclasses.dataclass
class Address:
    """Where something goes."""

    street: str
    number: int = 1


class Item(msgspec.Struct):
    sku: str
    amount: int = 1


class Line(pydantic.BaseModel):
    text: str
    amount: int = pydantic.Field(default=1, ge=1)


def load(folder: Path, source: str) -> Any:
    """Import `source` as a module of its own."""
    path = folder / "shop.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("shop", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def of(annotation: Any, default: Any = ...) -> CallSchema:
    """Give the schema of a function with one parameter `x`."""

    def tool(x: Any = default) -> None: ...

    if default is ...:
        tool.__defaults__ = None
    tool.__annotations__ = {"x": annotation}
    return call_schema(tool)


def problems_of(schema: CallSchema, args: Any) -> list[str]:
    with pytest.raises(LashError) as caught:
        schema.convert(args)
    assert caught.value.code == "invalid_tool_args"
    problems: Any = caught.value.details["problems"]
    for problem in problems:
        assert problem in caught.value.message
    return list(problems)


def refusal_of(function: Callable[..., object], injected_type: type | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        call_schema(function, injected_type=injected_type)
    assert caught.value.code == "tool_signature_invalid"
    assert "To mend it, " in caught.value.message
    return caught.value.message


def test_a_signature_becomes_one_plain_object_schema() -> None:
    async def lookup(order_id: str, *, limit: int = 10, tags: list[str] | None = None) -> dict:  # type: ignore[type-arg]  # as users write it
        """Look up orders.

        Args:
            order_id: The id.
            limit: How many.
        """
        return {}

    schema = call_schema(lookup)
    assert schema.description == "Look up orders."
    assert schema.injected is None
    assert schema.json_schema == {
        "type": "object",
        "properties": {
            "order_id": {"type": "string", "description": "The id."},
            "limit": {"type": "integer", "description": "How many.", "default": 10},
            "tags": {
                "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}],
                "default": None,
            },
        },
        "required": ["order_id"],
        "additionalProperties": False,
    }


def test_a_function_without_parameters_takes_an_empty_object() -> None:
    def ping() -> None: ...

    schema = call_schema(ping)
    assert schema.json_schema == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }
    assert schema.convert({}) == {}
    assert problems_of(schema, {"x": 1}) == ["`$.x`: unknown argument; none is allowed"]


def test_every_problem_is_named_at_once() -> None:
    def move(x: int, y: int, label: str = "") -> None: ...

    assert problems_of(call_schema(move), {"x": "1", "lable": "a"}) == [
        "`$.y`: expected this required argument, got nothing",
        "`$.x`: expected `int`, got `str`",
        "`$.lable`: unknown argument; allowed are `x`, `y`, `label`",
    ]


def test_arguments_that_are_no_object_are_refused() -> None:
    assert problems_of(of(int), [1]) == ["`$`: expected an object with the arguments by name"]


def test_a_missing_argument_stays_different_from_null() -> None:
    schema = of(str | None, "fallback")
    assert schema.convert({}) == {}
    assert schema.convert({"x": None}) == {"x": None}


def test_annotated_descriptions_win_over_the_docstring_and_that_over_the_type() -> None:
    def save(a: Annotated[int, "Said here."], b: Line, c: Address) -> None:
        """Save.

        Args:
            a: Said there.
            b: The line to save.
        """

    properties: Any = call_schema(save).json_schema["properties"]
    assert properties["a"]["description"] == "Said here."
    assert properties["b"]["description"] == "The line to save."
    assert properties["c"] == {"$ref": "#/$defs/Address"}


def test_constraints_of_two_libraries_in_one_annotation_are_refused() -> None:
    def save(x: Annotated[int, msgspec.Meta(ge=0), pydantic.Field(le=9)]) -> None: ...

    assert "mixes constraints" in refusal_of(save)


def test_a_pydantic_constraint_on_what_pydantic_cannot_read_is_refused() -> None:
    def save(x: Annotated[list[Item], pydantic.Field(max_length=1)]) -> None: ...

    assert "parameter `x`" in refusal_of(save)


@pytest.mark.parametrize(
    "annotation",
    [
        Context,
        SpecialContext,
        GenericContext[int],
        Context | None,
        Annotated[Context, "Filled in."],
        "Context",
        "SpecialContext | None",
    ],
)
def test_the_context_parameter_is_injected_and_hidden(annotation: Any) -> None:
    def tool(order_id: str, ctx: Any = None) -> None:
        """Look up.

        order_id: The id.
        ctx: The context.
        """

    tool.__annotations__["ctx"] = annotation
    schema = call_schema(tool, injected_type=Context)
    assert schema.injected == "ctx"
    assert schema.description == "Look up."
    assert schema.json_schema["properties"] == {
        "order_id": {"type": "string", "description": "The id."}
    }
    assert schema.convert({"order_id": "7"}) == {"order_id": "7"}
    assert problems_of(schema, {"order_id": "7", "ctx": {}}) == [
        "`$.ctx`: unknown argument; allowed are `order_id`"
    ]


def test_a_context_imported_for_type_checkers_only_is_still_found(tmp_path: Path) -> None:
    module = load(tmp_path, "def tool(ctx: 'Context', x: int): ...")
    assert call_schema(module.tool, injected_type=Context).injected == "ctx"


def test_two_context_parameters_are_refused() -> None:
    def tool(a: Context, b: SpecialContext) -> None: ...

    message = refusal_of(tool, Context)
    assert "parameter `b` of" in message
    assert "and so does `a`" in message


def args_tool(*items: str) -> None: ...
def kwargs_tool(**options: str) -> None: ...
def positional_tool(x: int, /) -> None: ...
def bare_tool(x) -> None: ...  # type: ignore[no-untyped-def]  # the subject of the test
def field_tool(x: int = pydantic.Field(ge=0)) -> None: ...
def callable_tool(x: Callable[[], int]) -> None: ...
def object_tool(x: list[Context]) -> None: ...
def union_tool(x: Address | Item) -> None: ...
def model_tool(x: tuple[Line, Callable[[], int]]) -> None: ...
def unknown_tool(x: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821  the subject of the test
def broken_tool(x: "1 +") -> None: ...  # type: ignore[valid-type]  # noqa: F722  the subject of the test


class Shop:
    def lookup(self, order_id: Annotated[str, "The id."]) -> str:
        """Look up."""
        return order_id

    def __call__(self, amount: int) -> None:
        """Buy."""


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        (args_tool, ["`items` of `args_tool`", "items: list[str]"]),
        (kwargs_tool, ["`options` of `kwargs_tool`", "declare each argument"]),
        (positional_tool, ["`x` of `positional_tool`", "remove the `/`"]),
        (bare_tool, ["`x` of `bare_tool` has no annotation", "`x: str`"]),
        (Shop.lookup, ["`self` of `Shop.lookup`", "bound method"]),
        (field_tool, ["`x` of `field_tool`", "Annotated[<type>, Field(...)]"]),
        (callable_tool, ["`x` of `callable_tool`", "Callable", "dataclasses"]),
        (object_tool, ["`x` of `object_tool`", "Context"]),
        (union_tool, ["`x` of `union_tool`", "more than one dict-like type"]),
        (model_tool, ["`x` of `model_tool`"]),
        (unknown_tool, ["`x` of `unknown_tool`", "'Nowhere'", "import"]),
        (broken_tool, ["`x` of `broken_tool`", "no type"]),
        (dict, ["`dict`", "signature"]),
    ],
)
def test_what_cannot_be_called_with_json_is_refused_with_a_remedy(
    function: Callable[..., object], parts: list[str]
) -> None:
    message = refusal_of(function)
    for part in parts:
        assert part in message


def test_bound_methods_drop_self() -> None:
    schema = call_schema(Shop().lookup)
    assert schema.description == "Look up."
    assert schema.json_schema["properties"] == {
        "order_id": {"type": "string", "description": "The id."}
    }


def test_callable_objects_and_partials_are_functions_too() -> None:
    assert call_schema(Shop()).description == "Buy."
    assert call_schema(Shop()).convert({"amount": 1}) == {"amount": 1}

    def scale(value: float, factor: float) -> None:
        """Scale."""

    schema = call_schema(functools.partial(scale, factor=2.0))
    assert schema.description == "Scale."
    assert schema.json_schema["required"] == ["value"]


def test_wrapped_functions_show_what_they_wrap(tmp_path: Path) -> None:
    source = (
        "import functools\n"
        "def logged(function):\n"
        "    @functools.wraps(function)\n"
        "    def wrapper(*args, **kwargs):\n"
        "        return function(*args, **kwargs)\n"
        "    return wrapper\n"
    )

    def save(address: "Address") -> None:
        """Save."""

    schema = call_schema(load(tmp_path, source).logged(save))
    assert schema.description == "Save."
    assert schema.convert({"address": {"street": "Elm"}}) == {"address": Address("Elm")}


def test_local_classes_resolve_at_decoration_and_later_through_the_closure() -> None:
    @dataclasses.dataclass
    class Local:
        a: int

    def unused_in_the_body(x: "Local") -> None: ...

    assert call_schema(unused_in_the_body).convert({"x": {"a": 1}}) == {"x": Local(1)}

    def factory() -> Callable[..., object]:
        @dataclasses.dataclass
        class Inner:
            a: int

        def tool(x: "Inner") -> object:
            return Inner(x.a)

        return tool

    [value] = call_schema(factory()).convert({"x": {"a": 1}}).values()
    assert type(value).__name__ == "Inner"


def test_postponed_annotations_resolve_in_the_module_that_wrote_them(tmp_path: Path) -> None:
    source = (
        "from __future__ import annotations\n"
        "from datetime import date\n"
        "class Shop:\n"
        "    Kind = int\n"
        "    def due(self, day: date, kind: int | None = None) -> Unknown: ...\n"
    )
    schema = call_schema(load(tmp_path, source).Shop().due)
    assert schema.convert({"day": "2024-05-01", "kind": 2}) == {"day": date(2024, 5, 1), "kind": 2}


def test_pydantic_is_imported_only_for_its_own_types(tmp_path: Path) -> None:
    script = tmp_path / "plain.py"
    script.write_text(
        "import sys\n"
        "from lash.core.schema import call_schema\n"
        "def tool(x: int, y: list[str]): ...\n"
        "call_schema(tool).convert({'x': 1, 'y': []})\n"
        "print('pydantic' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, str(script)], capture_output=True, check=True, text=True)
    assert run.stdout == "False\n"


def test_static_and_class_methods_are_functions_too() -> None:
    class Store:
        @staticmethod
        def count(shelf: int) -> None:
            """Count."""

        @classmethod
        def open(cls, name: str) -> None:
            """Open."""

    assert call_schema(Store.count).json_schema["required"] == ["shelf"]
    assert call_schema(Store.open).json_schema["required"] == ["name"]
    assert call_schema(Store.open).description == "Open."


def test_a_call_schema_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        of(int).description = "x"  # type: ignore[misc]  # the subject of the test
