"""Methods as tools: one tool per instance, with the state of that instance."""

import dataclasses
import inspect
from typing import Annotated, Any, assert_type

import pytest

import lash
from lash.testing import ScriptedModel, calls, reply
from lash.tools.function import FunctionTool
from lash.tools.model import Tool, ToolContext
from lash.turn.tools import ToolFailed, ToolOutput, ToolSuccess


class Orders:
    """A shelf of orders."""

    opened = 0

    def __init__(self, *known: str) -> None:
        self.known = list(known)

    @property
    def newest(self) -> str:
        raise AssertionError("nobody asked for it")

    @lash.tool
    async def lookup(self, order_id: Annotated[str, "Which."], limit: int = 3) -> str:
        """Look up one order."""
        return f"{order_id} of {len(self.known)}, {limit}"

    @lash.tool(name="add_order", serial=True)
    def add(self, order_id: str, ctx: ToolContext) -> list[str]:
        """Add one order."""
        self.known.append(f"{order_id}@{ctx.call_id}")
        return self.known

    @lash.tool
    @staticmethod
    def price(sku: str) -> str:
        """Tell a price."""
        return f"price of {sku}"

    @staticmethod
    @lash.tool
    def stock(sku: str) -> str:
        """Tell what is there."""
        return f"stock of {sku}"

    @lash.tool
    @classmethod
    def kind(cls, word: str) -> str:
        """Tell the kind."""
        return f"{word} {cls.__name__}"

    def plain(self) -> None:
        """No tool."""

    @lash.tool
    def merge(self, other: "Orders | None" = None) -> int:
        """Names its own class, which has no form in JSON."""
        return len(self.known)


# A class whose methods name it cannot be read by a model; it is taken out again where it is in the way.
del Orders.merge


class Archive(Orders):
    @lash.tool
    async def lookup(self, order_id: str, limit: int = 9) -> str:
        """Look up one old order."""
        return "old " + await super().lookup(order_id, limit)

    def price(self, sku: str) -> str:  # type: ignore[override]  # an override that is no tool
        """No tool any more."""
        return sku

    @lash.tool
    def purge(self) -> int:
        """Forget everything."""
        gone, self.known = len(self.known), []
        return gone


def context() -> ToolContext:
    return ToolContext(
        session_id="s",
        turn_id="t",
        call_id="c7",
        tool_name="tool",
        attempt=1,
        max_attempts=1,
        idempotency_key="k",
    )


async def value_of(tool: Tool, **args: Any) -> object:
    output = await tool.run(args, context())
    assert isinstance(output, ToolOutput)
    assert isinstance(output.outcome, ToolSuccess), output
    return output.outcome.payload


async def test_a_method_is_a_tool_of_each_instance() -> None:
    one, two = Orders("a"), Orders("a", "b")
    assert await value_of(one.lookup, order_id="7") == "7 of 1, 3"
    assert await value_of(two.lookup, order_id="7", limit=1) == "7 of 2, 1"
    assert await value_of(two.add, order_id="c") == ["a", "b", "c@c7"]
    assert (one.known, two.known) == (["a"], ["a", "b", "c@c7"])


async def test_calling_it_from_python_calls_the_method() -> None:
    orders = Orders("a")
    assert await orders.lookup("7") == "7 of 1, 3"
    assert await orders.lookup("7", limit=2) == "7 of 1, 2"
    assert await Orders.lookup(orders, "7") == "7 of 1, 3"
    assert orders.add("b", context()) == ["a", "b@c7"]
    assert Orders.price("x") == "price of x"
    assert Orders.stock("x") == "stock of x"
    dynamic: Any = orders  # type checkers take what is static for a method
    assert (dynamic.price("x"), dynamic.stock("x")) == ("price of x", "stock of x")
    assert Archive().kind("a") == "a Archive"
    assert list(inspect.signature(orders.lookup).parameters) == ["order_id", "limit"]
    assert orders.lookup.__doc__ == "Look up one order."
    assert_type(await orders.lookup("7"), str)


def test_the_schema_is_that_of_the_method_without_its_instance() -> None:
    tool = Orders().lookup
    assert (tool.name, tool.id, tool.serial) == ("lookup", "tool:lookup", False)
    assert tool.spec.description == "Look up one order."
    assert tool.spec.input_schema == {
        "type": "object",
        "properties": {
            "order_id": {"type": "string", "description": "Which."},
            "limit": {"type": "integer", "default": 3},
        },
        "required": ["order_id"],
        "additionalProperties": False,
    }
    added = Orders().add
    assert (added.name, added.serial) == ("add_order", True)
    assert added.spec.input_schema["required"] == ["order_id"]


async def test_tools_of_gives_all_tools_of_an_object_in_the_order_of_the_class() -> None:
    orders = Orders("a")
    tools = lash.tools_of(orders)
    assert [tool.name for tool in tools] == ["lookup", "add_order", "price", "stock", "kind"]
    assert await value_of(tools[0], order_id="7") == "7 of 1, 3"
    assert await value_of(tools[2], sku="x") == "price of x"
    assert await value_of(tools[3], sku="x") == "stock of x"
    assert await value_of(tools[4], word="my") == "my Orders"


async def test_a_subclass_has_the_tools_of_its_base_and_its_own() -> None:
    archive = Archive("a", "b")
    tools = lash.tools_of(archive)
    assert [tool.name for tool in tools] == ["lookup", "add_order", "stock", "kind", "purge"]
    assert await value_of(tools[0], order_id="7") == "old 7 of 2, 9"
    assert tools[0].spec.description == "Look up one old order."
    assert await value_of(tools[3], word="my") == "my Archive"
    assert await value_of(archive.purge) == 2
    assert archive.known == []


def test_slots_and_dataclasses_have_tools_as_well() -> None:
    @dataclasses.dataclass(slots=True)
    class Point:
        x: int

        @lash.tool
        def moved(self, by: int) -> int:
            """Move."""
            return self.x + by

    assert lash.tools_of(Point(3))[0].name == "moved"
    assert Point(3).moved(4) == 7


class Node:
    @lash.tool
    def under(self, ctx: ToolContext, node: "Leaf | None" = None) -> str:
        """Names a class that is made later."""
        return "" if node is None else node.name


@dataclasses.dataclass
class Leaf:
    name: str


async def test_a_method_may_name_what_is_defined_after_it() -> None:
    assert await value_of(Node().under, node={"name": "n"}) == "n"


@pytest.mark.parametrize("take", [lambda: [Orders.lookup], lambda: [Orders("a").price, Orders.add]])
def test_a_method_without_an_instance_is_refused_with_a_remedy(take: Any) -> None:
    with pytest.raises(lash.ConfigurationError) as refused:
        lash.Agent("a", model=ScriptedModel([]), tools=take())
    assert refused.value.code == "tool_signature_invalid"
    assert "needs an instance" in refused.value.message
    assert "lash.tools_of(orders)" in refused.value.message


def test_a_class_and_an_object_without_tools_are_refused() -> None:
    with pytest.raises(lash.ConfigurationError, match="is a class"):
        lash.tools_of(Orders)
    with pytest.raises(lash.ConfigurationError, match=r"Put @lash\.tool above"):
        lash.tools_of(7)


def test_a_wrong_method_is_refused_where_it_is_written() -> None:
    with pytest.raises(lash.ConfigurationError, match=r"parameter `what` of .*no annotation"):

        class Untyped:
            @lash.tool
            def lookup(self, what) -> str:  # type: ignore[no-untyped-def]  # the subject of the test
                """Look up."""
                return ""

    with pytest.raises(lash.ConfigurationError, match="above @classmethod"):

        class Turned:
            @classmethod
            @lash.tool
            def lookup(cls, what: str) -> str:
                """Look up."""
                return what

    with pytest.raises(lash.ConfigurationError, match="`self`"):

        @lash.tool
        def lookup(self, what: str) -> str:  # type: ignore[no-untyped-def]  # the subject of the test
            """No method."""
            return what


def test_a_tool_that_is_no_method_is_the_same_from_everywhere() -> None:
    @lash.tool
    def shared(word: str) -> str:
        """Shared."""
        return word

    class Holder:
        tool = shared

    assert inspect.getattr_static(Holder, "tool") is shared
    assert Holder.tool is shared
    assert isinstance(shared, FunctionTool)
    assert lash.tools_of(Holder()) == (shared,)


async def test_nulls_count_as_left_out_in_methods_too() -> None:
    tool = Orders("a").lookup
    assert await value_of(tool, order_id="7", limit=None) == "7 of 1, 3"
    with pytest.raises(lash.LashError, match="order_id"):
        tool.check({"order_id": None})


async def test_an_agent_calls_the_methods_of_its_objects() -> None:
    orders = Orders("a")
    model = ScriptedModel(
        [
            calls(("lookup", {"order_id": "7", "limit": None}), ("kind", {"word": "my"})),
            reply("Done."),
        ]
    )
    agent = lash.Agent("shop", model=model, tools=[orders.lookup, orders.kind])
    async with lash.Runtime(":memory:", agents=[agent]) as runtime:
        result = await runtime.session("s").run("Go.")
    assert [call.output.outcome for call in result.tool_calls] == [
        ToolSuccess(payload="7 of 1, 3"),
        ToolSuccess(payload="my Orders"),
    ]
    assert not any(isinstance(call.output.outcome, ToolFailed) for call in result.tool_calls)
