"""Prompt layers: what is kept, what is replaced, in which order it is rendered."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.core.errors import ConfigurationError
from lash.turn.prompt import (
    DEFAULT_TEMPLATE,
    SLOTS,
    BuiltinEntry,
    Contribution,
    PromptBuiltin,
    PromptLayer,
    PromptSlot,
    PromptTemplate,
    Section,
    SlotEntry,
    SlotLayer,
    TextEntry,
    builtin_text,
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


# --- layers made in a line ------------------------------------------------------------------------


def test_agent_session_and_turn_are_composed_in_this_order_for_each_request() -> None:
    agent = instructions_layer("Be brief.") + PromptLayer.add("guidance", "Of the agent.")
    session = PromptLayer.add("guidance", "Of the session.") + PromptLayer.add("intro", "In Latin.")
    turn = PromptLayer.replace("guidance", "Of the turn.") + PromptLayer.template_of(
        Section(title="Rules", entries=(SlotEntry(slot="guidance"),)),
        Section(entries=(SlotEntry(slot="intro"),)),
    )
    assert render_prompt([agent]) == "Be brief.\n\n## Guidance\n\nOf the agent."
    assert render_prompt([agent, session]) == (
        "Be brief.\n\nIn Latin.\n\n## Guidance\n\nOf the agent.\n\nOf the session."
    )
    assert render_prompt([agent, session, turn]) == (
        "## Rules\n\nOf the turn.\n\nBe brief.\n\nIn Latin."
    )
    # The next turn is as if this one had said nothing.
    assert render_prompt([agent, session]).endswith("Of the session.")


@pytest.mark.parametrize(
    ("made", "written"),
    [
        (PromptLayer.add("intro", "x"), says("x")),
        (
            PromptLayer.add("guidance", "x", title="T", priority=3, requires_tools=["ask"]),
            says(
                Contribution(content="x", title="T", priority=3, requires_tools=("ask",)),
                slot="guidance",
            ),
        ),
        (PromptLayer.replace("intro", "x", Contribution(content="y")), says("x", "y", reset=True)),
        (PromptLayer.clear("environment"), says(slot="environment", reset=True)),
        (PromptLayer.add("intro", "x") + PromptLayer.add("intro", "y"), says("x", "y")),
        (PromptLayer.add("intro", "x") + PromptLayer.clear("intro"), says(reset=True)),
        (
            PromptLayer.template_of(Section(entries=(SlotEntry(slot="intro"),))),
            INTRO_ONLY,
        ),
    ],
)
def test_a_layer_made_in_a_line_is_the_value_written_out(
    made: PromptLayer, written: PromptLayer
) -> None:
    assert made == written
    assert msgspec.json.decode(msgspec.json.encode(made), type=PromptLayer) == made


def test_layers_that_say_other_things_are_not_the_same() -> None:
    layer = PromptLayer.add("intro", "x")
    assert layer != PromptLayer.replace("intro", "x")
    assert layer != PromptLayer.add("guidance", "x")
    assert layer != PromptLayer.add("intro", "y")


def test_a_layer_is_stored_like_this() -> None:
    layer = PromptLayer.add("intro", "x") + PromptLayer.clear("guidance")
    assert msgspec.json.decode(msgspec.json.encode(layer)) == {
        "slots": {"intro": {"contributions": [{"content": "x"}]}, "guidance": {"reset": True}}
    }
    assert msgspec.json.encode(PromptLayer()) == b"{}"


def test_a_slot_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        PromptLayer.add("guidence", "x")  # type: ignore[arg-type]  # the mistake under test
    assert caught.value.code == "prompt_slot_unknown"
    with pytest.raises(ConfigurationError):
        PromptLayer.clear("intros")  # type: ignore[arg-type]  # the mistake under test


# --- what lash says itself ------------------------------------------------------------------------

BUILTINS: list[PromptBuiltin] = ["main_agent_intro", "execution_instructions", "core_guidance"]


def test_instructions_alone_are_all_that_is_sent_whatever_the_tools() -> None:
    agent = instructions_layer("Be brief.")
    assert render_prompt([agent], tools=["ask", "lookup"]) == "Be brief."
    assert render_prompt([agent, says("rules", slot="guidance")]) == (
        "Be brief.\n\n## Guidance\n\nrules"
    )


def test_lashs_own_texts_stand_where_a_layers_template_asks_for_them() -> None:
    asking = PromptLayer.template_of(*DEFAULT_TEMPLATE.sections)
    rendered = render_prompt([instructions_layer("Be brief."), asking])
    intro, execution, guidance = (builtin_text(name) for name in BUILTINS)
    assert rendered == (
        f"{intro}\n\nBe brief.\n\n## Execution\n\n{execution}\n\n## Guidance\n\n{guidance}"
    )


def test_builtins_that_are_given_are_said_instead_and_no_other() -> None:
    asking = PromptLayer.template_of(*DEFAULT_TEMPLATE.sections)
    assert render_prompt([asking], builtins={"core_guidance": "Mine."}) == ("## Guidance\n\nMine.")
    assert render_prompt([asking], builtins={}) == ""


@pytest.mark.parametrize("builtin", BUILTINS)
@pytest.mark.parametrize("tools", [(), ("ask",)])
def test_each_builtin_is_a_few_plain_lines(builtin: PromptBuiltin, tools: tuple[str, ...]) -> None:
    lines = builtin_text(builtin, tools=tools).splitlines()
    assert 2 <= len(lines) <= 5
    assert all(line and line == line.strip() and len(line) <= 100 for line in lines)


@pytest.mark.parametrize(
    ("tools", "said"),
    [((), False), (("lookup", "ask_nicely"), False), (("lookup", "ask"), True)],
)
def test_guidance_on_asking_is_given_only_with_a_tool_to_ask_with(
    tools: tuple[str, ...], said: bool
) -> None:
    line = "Ask only when you cannot go on without an answer."
    asking = PromptLayer.template_of(Section(entries=(BuiltinEntry(builtin="core_guidance"),)))
    assert (line in render_prompt([asking], tools=tools).splitlines()) is said
