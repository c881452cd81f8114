"""Prompt layers: what is kept, what is replaced, in which order it is rendered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.turn.prompt import (
    SLOTS,
    BuiltinEntry,
    Contribution,
    PromptLayer,
    PromptSlot,
    PromptTemplate,
    Section,
    SlotEntry,
    SlotLayer,
    TextEntry,
    instructions_layer,
    render_prompt,
)


def says(
    *contents: str | Contribution, slot: PromptSlot = "intro", reset: bool = False
) -> PromptLayer:
    contributions = tuple(
        item if isinstance(item, Contribution) else Contribution(content=item) for item in contents
    )
    return PromptLayer(slots={slot: SlotLayer(reset=reset, contributions=contributions)})


def template(*sections: Section) -> PromptLayer:
    return PromptLayer(template=PromptTemplate(sections=sections))


INTRO_ONLY = template(Section(entries=(SlotEntry(slot="intro"),)))


def test_nothing_said_is_an_empty_prompt() -> None:
    assert render_prompt([]) == ""
    assert render_prompt([PromptLayer()]) == ""


def test_an_agents_instructions_are_the_whole_prompt_when_nothing_else_is_said() -> None:
    assert render_prompt([instructions_layer("  Be brief.\n")]) == "Be brief."


def test_the_default_template_has_this_order_and_these_titles() -> None:
    layers = [says(slot, slot=slot) for slot in reversed(SLOTS)]
    rendered = render_prompt(
        layers,
        builtins={
            "main_agent_intro": "MAIN",
            "execution_instructions": "EXECUTION",
            "core_guidance": "CORE",
        },
    )
    assert rendered == (
        "MAIN\n\nintro\n\n"
        "## Execution\n\nEXECUTION\n\nexecution\n\n"
        "## Guidance\n\nCORE\n\nproject_instructions\n\nguidance\n\n"
        "## Environment\n\nruntime_context\n\nenvironment"
    )


def test_a_builtin_that_is_not_given_is_left_out_and_so_is_an_empty_section() -> None:
    layers = [says("intro"), says("rules", slot="guidance")]
    assert render_prompt(layers) == "intro\n\n## Guidance\n\nrules"


def test_layers_add_up_in_order() -> None:
    assert render_prompt([says("one"), says("two"), says("three")]) == "one\n\ntwo\n\nthree"


def test_a_reset_discards_what_earlier_layers_put_into_that_slot_only() -> None:
    layers = [
        says("one"),
        says("rules", slot="guidance"),
        says("two", reset=True),
        says("three"),
    ]
    assert render_prompt(layers) == "two\n\nthree\n\n## Guidance\n\nrules"


def test_an_empty_reset_clears_the_slot() -> None:
    assert render_prompt([says("one"), says(reset=True)]) == ""


def test_a_later_template_replaces_the_earlier_one() -> None:
    first = template(Section(title="A", entries=(SlotEntry(slot="intro"),)))
    second = template(Section(title="B", entries=(SlotEntry(slot="intro"),)))
    assert render_prompt([first, second, says("x")]) == "## B\n\nx"


def test_a_layer_without_a_template_keeps_the_one_below() -> None:
    assert render_prompt([INTRO_ONLY, says("rules", slot="guidance"), says("x")]) == "x"


def test_a_template_may_hold_text_builtins_and_slots_in_any_order() -> None:
    layer = template(
        Section(
            title="All",
            entries=(
                SlotEntry(slot="environment"),
                TextEntry(text="  literal\n"),
                BuiltinEntry(builtin="core_guidance"),
            ),
        )
    )
    rendered = render_prompt(
        [layer, says("here", slot="environment")], builtins={"core_guidance": " core "}
    )
    assert rendered == "## All\n\nhere\n\nliteral\n\ncore"


def test_contributions_are_trimmed_and_blank_ones_dropped() -> None:
    assert render_prompt([says("  one\n", " \n ", "two")]) == "one\n\ntwo"


def test_a_titled_contribution_stands_under_its_title() -> None:
    layer = says(Contribution(content=" Do it. ", title="How"))
    assert render_prompt([layer]) == "### How\n\nDo it."


def test_lower_priorities_come_first_and_equal_ones_keep_the_order_of_the_layers() -> None:
    layers = [
        says(Contribution(content="late", priority=5), "a"),
        says(Contribution(content="first", priority=-1), "b"),
    ]
    assert render_prompt(layers) == "first\n\na\n\nb\n\nlate"


def test_the_same_contribution_is_said_once() -> None:
    titled = Contribution(content="x", title="T")
    assert render_prompt([says("x", titled), says(" x ", titled)]) == "x\n\n### T\n\nx"


@pytest.mark.parametrize(
    ("tools", "rendered"),
    [
        ((), "always"),
        (("other",), "always"),
        (("ask",), "always\n\ngated"),
        (("tell", "other"), "always\n\ngated"),
    ],
)
def test_a_gated_contribution_is_kept_while_one_of_its_tools_is_on_offer(
    tools: tuple[str, ...], rendered: str
) -> None:
    gated = Contribution(content="gated", requires_tools=("ask", "tell"))
    assert render_prompt([says("always", gated)], tools=tools) == rendered


def test_a_section_of_which_every_contribution_is_gated_away_is_left_out() -> None:
    layer = says(Contribution(content="gated", requires_tools=("ask",)), slot="execution")
    assert render_prompt([says("intro"), layer]) == "intro"


slot_layers = st.builds(
    lambda words, reset, slot: says(*words, slot=slot, reset=reset),
    st.lists(st.sampled_from("abcdef"), max_size=3),
    st.booleans(),
    st.sampled_from(["intro", "guidance"]),
)


@given(slot_layers, slot_layers, slot_layers)
def test_it_does_not_matter_how_layers_are_grouped(
    a: PromptLayer, b: PromptLayer, c: PromptLayer
) -> None:
    assert render_prompt([a, b, c]) == render_prompt([a + b, c]) == render_prompt([a, b + c])


@given(st.lists(slot_layers, max_size=6))
def test_a_slot_holds_what_came_since_its_last_reset(layers: list[PromptLayer]) -> None:
    expected: list[str] = []
    for layer in layers:
        if "intro" in layer.slots:
            if layer.slots["intro"].reset:
                expected = []
            expected += [item.content for item in layer.slots["intro"].contributions]
    assert render_prompt([INTRO_ONLY, *layers]) == "\n\n".join(dict.fromkeys(expected))
