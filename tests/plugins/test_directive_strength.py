"""Which of several answers about a tool call holds: the table written by hand, and laws over all orders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.plugins.directives import Abort, Answer, Deny, Settled, Settling, stronger

ABORT, DENY, ANSWER = Abort("stop", "a"), Deny("no", "d"), Answer("yes")


def holds(*said: tuple[str, Settling], first_of_equals: bool = False) -> Settled:
    """What holds once all of them have spoken, in this order."""
    held: Settled | None = None
    for plugin_id, directive in said:
        held = stronger(held, plugin_id, directive, first_of_equals=first_of_equals)
    assert held is not None
    return held


# Two speak: who wins, and what the model is told.
PAIRS = [
    (ABORT, DENY, ABORT, DENY),  # the abort holds, in the denial's words
    (ABORT, ANSWER, ABORT, ABORT),
    (DENY, ANSWER, DENY, DENY),
]


@pytest.mark.parametrize("first_of_equals", [False, True])
@pytest.mark.parametrize(("strong", "weak", "wins", "shown"), PAIRS)
def test_the_stronger_of_two_holds_in_either_order(
    strong: Settling, weak: Settling, wins: Settling, shown: Settling, *, first_of_equals: bool
) -> None:
    for order in ((("p", strong), ("q", weak)), (("q", weak), ("p", strong))):
        held = holds(*order, first_of_equals=first_of_equals)
        assert (held.plugin_id, held.directive, held.shown) == ("p", wins, shown)


@pytest.mark.parametrize("kind", [Abort("x"), Deny("x"), Answer(1)])
def test_of_equals_the_smaller_id_holds_before_a_tool_and_the_first_one_after_it(
    kind: Settling,
) -> None:
    assert holds(("b", kind), ("a", kind)).plugin_id == "a"
    assert holds(("a", kind), ("b", kind)).plugin_id == "a"
    assert holds(("b", kind), ("a", kind), first_of_equals=True).plugin_id == "b"


def test_the_denial_that_is_told_is_the_one_that_would_hold_without_the_abort() -> None:
    said: list[tuple[str, Settling]] = [
        ("z", Deny("z says no")),
        ("b", Abort("stop")),
        ("a", Abort("halt")),
        ("y", DENY),
    ]
    for order in (said, said[::-1], [said[1], said[3], said[0], said[2]]):
        held = holds(*order)
        assert (held.plugin_id, held.shown) == ("a", DENY)


def test_a_directive_of_a_class_of_ones_own_is_as_strong_as_what_it_derives_from() -> None:
    class Refusal(Deny):
        pass

    assert holds(("a", ANSWER), ("b", Refusal("no"))).plugin_id == "b"


DIRECTIVES = st.one_of(
    st.builds(Abort, st.text(max_size=3)),
    st.builds(Deny, st.text(max_size=3)),
    st.builds(Answer, st.integers()),
)
#: Every plugin speaks once.
SAID = st.dictionaries(st.text("abcdef", min_size=1, max_size=2), DIRECTIVES, min_size=1)


def strength(directive: Settling) -> int:
    return {Answer: 0, Deny: 1, Abort: 2}[type(directive)]


@given(st.data(), SAID)
def test_before_a_tool_the_order_of_registration_changes_nothing(
    data: st.DataObject, said: dict[str, Settling]
) -> None:
    order = data.draw(st.permutations(list(said.items())))
    held = holds(*order)
    strongest = max(strength(directive) for directive in said.values())
    winner = min(name for name in said if strength(said[name]) == strongest)
    denials = sorted(name for name in said if isinstance(said[name], Deny))
    told = denials[0] if denials else winner
    assert (held.plugin_id, held.directive, held.shown) == (winner, said[winner], said[told])


@given(SAID)
def test_after_a_tool_the_first_of_the_strongest_holds(said: dict[str, Settling]) -> None:
    held = holds(*said.items(), first_of_equals=True)
    strongest = max(strength(directive) for directive in said.values())
    first = next(name for name in said if strength(said[name]) == strongest)
    assert (held.plugin_id, held.directive) == (first, said[first])
