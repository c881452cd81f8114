"""Declaring processes: what can be one, and what is refused where it is declared, and why."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from process_harness import greet

import lash


def test_a_process_is_known_by_its_functions_name_and_version() -> None:
    @lash.process(name="refund", version="2", max_attempts=3)
    async def any_name(ctx: lash.ProcessContext, order: str) -> None:
        """Pay back."""

    assert (greet.name, greet.version, greet.description) == ("greet", "1", "Greet somebody.")
    assert (any_name.name, any_name.version, any_name.max_attempts) == ("refund", "2", 3)
    assert any_name.description == "Pay back."
    assert repr(any_name) == "<lash.process refund version 2>"
    assert greet.json_schema["required"] == ["name"]


async def plain(ctx: lash.ProcessContext) -> None: ...


def sync(ctx: lash.ProcessContext) -> None: ...


async def generator(ctx: lash.ProcessContext) -> AsyncIterator[int]:
    yield 1


async def without_context() -> None: ...


async def context_by_name(*, ctx: lash.ProcessContext) -> None: ...


async def many(ctx: lash.ProcessContext, *names: str) -> None: ...


async def anything(ctx: lash.ProcessContext, **names: str) -> None: ...


async def untyped_lock(ctx: lash.ProcessContext, lock: asyncio.Lock) -> None: ...


async def returns_a_lock(ctx: lash.ProcessContext) -> asyncio.Lock:
    raise AssertionError


DECLARATIONS: dict[str, tuple[Callable[[], object], str]] = {
    "a plain function": (
        lambda: lash.process(sync),  # type: ignore[arg-type]  # that is the point
        "must be an `async def`",
    ),
    "a generator": (
        lambda: lash.process(generator),  # type: ignore[arg-type]  # as above
        "must be an `async def`",
    ),
    "no function": (
        lambda: lash.process(7),  # type: ignore[call-overload]  # as above
        "needs a name",
    ),
    "no context": (
        lambda: lash.process(without_context),  # type: ignore[arg-type]  # as above
        "first parameter must be the context",
    ),
    "a context by name": (
        lambda: lash.process(context_by_name),  # type: ignore[arg-type]  # as above
        "first parameter must be the context",
    ),
    "any number of arguments": (
        lambda: lash.process(many),
        "any number of unnamed arguments",
    ),
    "arguments of any name": (
        lambda: lash.process(anything),  # type: ignore[arg-type]  # as above
        "takes any argument",
    ),
    "an argument without JSON": (
        lambda: lash.process(untyped_lock),
        "parameter `lock`",
    ),
    "a result without JSON": (
        lambda: lash.process(returns_a_lock),
        "The result of process 'returns_a_lock'",
    ),
    "a blank name": (
        lambda: lash.process(name=" ")(plain),
        "needs a name",
    ),
    "a name that cannot be stored": (
        lambda: lash.process(name="\ud800")(plain),
        "needs a name",
    ),
    "a name that is no text": (
        lambda: lash.process(name=7)(plain),  # type: ignore[call-overload]  # as above
        "needs a name",
    ),
    "a blank version": (
        lambda: lash.process(version="")(plain),
        "its version",
    ),
    "a version that is no text": (
        lambda: lash.process(version=2)(plain),  # type: ignore[call-overload]  # as above
        "its version",
    ),
    "a signal with a space": (
        lambda: lash.process(signals={"a b": str})(plain),
        "'a b' is no name of a signal",
    ),
    "a signal without JSON": (
        lambda: lash.process(signals={"a": asyncio.Lock})(plain),
        "Signal 'a' .* type .*Lock",
    ),
    "an event of lash's own": (
        lambda: lash.process(events={"process.completed": str})(plain),
        "'process.completed' is no name",
    ),
    "an event that looks like a signal": (
        lambda: lash.process(events={"signal.x": str})(plain),
        "'signal.x' is no name",
    ),
    "a blank event": (
        lambda: lash.process(events={"": str})(plain),
        "'' is no name of an event",
    ),
    "an event without JSON": (
        lambda: lash.process(events={"a": asyncio.Lock})(plain),
        "Event 'a' .* type .*Lock",
    ),
}


@pytest.mark.parametrize("what", DECLARATIONS)
def test_what_cannot_be_a_process_is_refused_where_it_is_declared(what: str) -> None:
    declare, says = DECLARATIONS[what]
    with pytest.raises(lash.ConfigurationError, match=says) as raised:
        declare()
    assert raised.value.code == "process_function_invalid"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"recovery": "maybe"}, "maybe"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": True}, "max_attempts"),
    ],
)
async def test_what_becomes_of_a_process_when_its_worker_dies_is_checked_where_it_is_declared(
    options: dict[str, Any], says: str
) -> None:
    with pytest.raises(lash.ConfigurationError, match=says) as raised:
        lash.process(**options)(plain)
    assert raised.value.code == "process_function_invalid"


async def test_a_function_is_called_as_what_it_is() -> None:
    """For tests of one's own: the declaration does not stand in the way."""

    @lash.process
    async def adding(ctx: Any, one: int, two: int) -> int:
        return one + two

    assert await adding(None, 1, two=2) == 3  # type: ignore[arg-type]  # that is the point


async def test_two_processes_of_one_name_need_two_versions() -> None:
    @lash.process(name="greet")
    async def other(ctx: lash.ProcessContext) -> None: ...

    with pytest.raises(lash.ConfigurationError) as raised:
        lash.Runtime(":memory:", processes=[greet, other])
    assert raised.value.code == "process_duplicate"
    lash.Runtime(":memory:", processes=[greet, greet])
    with pytest.raises(lash.ConfigurationError) as raised:
        lash.Runtime(":memory:", processes=[plain])  # type: ignore[list-item]  # that is the point
    assert raised.value.code == "process_function_invalid"
