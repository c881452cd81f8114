"""Templates take from an event what they name, and say what is missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.core.errors import LashError
from lash.core.json import JsonValue
from lash.triggers.model import EventInput, FixedInput, InputSource
from lash.triggers.templates import arguments, check_text, render, select

EVENT: JsonValue = {"order": {"id": "o-7", "lines": [{"n": 2}, "x"]}, "paid": True, "none": None}


def test_arguments_come_from_the_event_or_are_fixed() -> None:
    template: dict[str, InputSource] = {
        "all": EventInput(),
        "id": EventInput(path=("order", "id")),
        "n": EventInput(path=("order", "lines", 0, "n")),
        "why": FixedInput(value=["paid", 1]),
        "nothing": EventInput(path=("none",)),
    }
    assert arguments(template, EVENT) == {
        "all": EVENT,
        "id": "o-7",
        "n": 2,
        "why": ["paid", 1],
        "nothing": None,
    }


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (("customer",), "event.customer"),
        (("order", "lines", 2), "event.order.lines.2"),
        (("order", "lines", -1), "event.order.lines.-1"),
        (("order", "id", 0), "event.order.id.0"),
        (("order", "lines", "0"), "event.order.lines.0"),
        (("order", 0), "event.order.0"),
        (("none", "x", "y"), "event.none.x"),
    ],
)
def test_what_the_event_lacks_is_named(path: tuple[str | int, ...], named: str) -> None:
    with pytest.raises(LashError) as raised:
        select(EVENT, path)
    assert raised.value.code == "trigger_input_missing"
    assert raised.value.details == {"path": named}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Order {event.order.id}.", "Order o-7."),
        ("{event.order.lines.0.n}/{event.order.lines.1}", "2/x"),
        ("{event.paid} {event.none}", "true null"),
        ("{event.order.lines}", '[{"n":2},"x"]'),
        ("{{event.paid}} {{}}", "{event.paid} {}"),
        ("no part", "no part"),
    ],
)
def test_text_is_put_together(template: str, text: str) -> None:
    check_text(template, "The prompt")
    assert render(template, EVENT) == text


@pytest.mark.parametrize(
    "template", ["{order}", "{event.}", "{event..id}", "{", "}", "{ event}", "{}"]
)
def test_a_template_that_names_no_part_is_refused(template: str) -> None:
    with pytest.raises(LashError) as raised:
        check_text(template, "The prompt")
    assert raised.value.code == "trigger_subscription_invalid"


@given(st.text())
def test_what_an_event_says_is_never_read_as_a_template(said: str) -> None:
    assert render("<{event.text}>", {"text": said}) == f"<{said}>"


@given(st.text())
def test_text_with_its_braces_doubled_stays_as_it_is(text: str) -> None:
    doubled = text.replace("{", "{{").replace("}", "}}")
    check_text(doubled, "The prompt")
    assert render(doubled, EVENT) == text
