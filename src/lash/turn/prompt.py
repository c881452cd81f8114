"""Prompt assembly with layers (turns spec 1.11, facade spec 10).

Layers are resolved in order (capability, plugin, core, session, turn; later wins): a later template
replaces the earlier one, a slot with `reset` discards what earlier layers put in that slot, anything
else appends. A layer is a value: it can be stored, compared and put on others with `+`. What changes from request to request does not belong here: the system prompt is the
first thing a provider's prompt cache looks at.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from lash.core.errors import ConfigurationError
from lash.core.json import Data

PromptSlot: TypeAlias = Literal[
    "intro", "execution", "guidance", "project_instructions", "runtime_context", "environment"
]
PromptBuiltin: TypeAlias = Literal["main_agent_intro", "execution_instructions", "core_guidance"]

SLOTS: tuple[PromptSlot, ...] = (
    "intro",
    "execution",
    "guidance",
    "project_instructions",
    "runtime_context",
    "environment",
)


class Contribution(Data):
    """A piece of prompt. With `requires_tools`, it is kept while one of them is on offer."""

    content: str
    title: str | None = None
    priority: int = 0
    requires_tools: tuple[str, ...] = ()


class SlotLayer(Data):
    """What one layer does to one slot."""

    reset: bool = False
    contributions: tuple[Contribution, ...] = ()


class TextEntry(Data, tag_field="kind", tag="text"):
    """Literal text in a template."""

    text: str


class BuiltinEntry(Data, tag_field="kind", tag="builtin"):
    """Text lash provides."""

    builtin: PromptBuiltin


class SlotEntry(Data, tag_field="kind", tag="slot"):
    """Where a slot's contributions go."""

    slot: PromptSlot


TemplateEntry: TypeAlias = TextEntry | BuiltinEntry | SlotEntry


class Section(Data):
    """A titled run of entries; an empty section is left out."""

    entries: tuple[TemplateEntry, ...]
    title: str | None = None


class PromptTemplate(Data):
    """The order of sections."""

    sections: tuple[Section, ...]


class PromptLayer(Data):
    """What one level says about the prompt. Layers add up with `+`; the right one wins.

    `PromptLayer.add("guidance", "Be brief.") + PromptLayer.clear("environment")` is one layer.
    """

    template: PromptTemplate | None = None
    slots: Mapping[PromptSlot, SlotLayer] = {}

    @classmethod
    def add(
        cls,
        slot: PromptSlot,
        content: str,
        *,
        title: str | None = None,
        priority: int = 0,
        requires_tools: Sequence[str] = (),
    ) -> "PromptLayer":
        """A layer that puts a text into a slot, after what the layers below put there.

        Args:
            slot: Where.
            content: What; blank text adds nothing.
            title: A heading of its own.
            priority: Lower ones come first.
            requires_tools: Left out unless one of these tools is on offer.

        Raises:
            ConfigurationError: `prompt_slot_unknown`.
        """
        contribution = Contribution(
            content=content, title=title, priority=priority, requires_tools=tuple(requires_tools)
        )
        return cls(slots={_known(slot): SlotLayer(contributions=(contribution,))})

    @classmethod
    def replace(cls, slot: PromptSlot, *contents: str | Contribution) -> "PromptLayer":
        """A layer that puts these texts into a slot in place of what the layers below put there.

        Raises:
            ConfigurationError: `prompt_slot_unknown`.
        """
        contributions = tuple(
            Contribution(content=item) if isinstance(item, str) else item for item in contents
        )
        return cls(slots={_known(slot): SlotLayer(reset=True, contributions=contributions)})

    @classmethod
    def clear(cls, slot: PromptSlot) -> "PromptLayer":
        """A layer that empties a slot.

        Raises:
            ConfigurationError: `prompt_slot_unknown`.
        """
        return cls.replace(slot)

    @classmethod
    def template_of(cls, *sections: Section) -> "PromptLayer":
        """A layer that orders the prompt in these sections, in place of any template below.

        `template_of(*DEFAULT_TEMPLATE.sections)` keeps the usual order and has lash's own texts in it.
        """
        return cls(template=PromptTemplate(sections=sections))

    def __add__(self, other: "PromptLayer") -> "PromptLayer":
        """This layer with `other` on top."""
        slots: dict[PromptSlot, SlotLayer] = dict(self.slots)
        for slot, layer in other.slots.items():
            below = slots.get(slot)
            if below is None or layer.reset:
                slots[slot] = layer
            else:
                slots[slot] = SlotLayer(
                    reset=below.reset, contributions=below.contributions + layer.contributions
                )
        return PromptLayer(template=other.template or self.template, slots=slots)


DEFAULT_TEMPLATE = PromptTemplate(
    sections=(
        Section(entries=(BuiltinEntry(builtin="main_agent_intro"), SlotEntry(slot="intro"))),
        Section(
            title="Execution",
            entries=(BuiltinEntry(builtin="execution_instructions"), SlotEntry(slot="execution")),
        ),
        Section(
            title="Guidance",
            entries=(
                BuiltinEntry(builtin="core_guidance"),
                SlotEntry(slot="project_instructions"),
                SlotEntry(slot="guidance"),
            ),
        ),
        Section(
            title="Environment",
            entries=(SlotEntry(slot="runtime_context"), SlotEntry(slot="environment")),
        ),
    )
)


#: What is said only where the person can be asked.
_ASK_TOOL = "ask"
_ASK_LINE = "Ask only when you cannot go on without an answer."

#: What lash says where a template asks for it. A line stands for itself; see `builtin_text`.
_BUILTINS: Mapping[PromptBuiltin, tuple[str, ...]] = {
    "main_agent_intro": (
        "You are an agent: you work on a person's task, with tools where they help.",
        "Go on until the task is done or cannot be done, then answer the person.",
        "Your last message without a tool call is your answer.",
    ),
    "execution_instructions": (
        "Call a tool when you need what it knows or does; never make up a result.",
        "Calls of one message run at the same time: put calls that need each other's results into",
        "separate messages.",
        "When a call fails, read why. Change the call or try another way; do not repeat it unchanged.",
    ),
    "core_guidance": (
        "Do what was asked, no more and no less.",
        "Say what you do not know, and which parts you could not do or check.",
        _ASK_LINE,
        "Lead with the result and keep it short.",
    ),
}


def builtin_text(builtin: PromptBuiltin, *, tools: Collection[str] = ()) -> str:
    """The text lash provides. Guidance on asking is left out unless a tool named `ask` is on offer."""
    lines = _BUILTINS[builtin]
    return "\n".join(line for line in lines if line != _ASK_LINE or _ASK_TOOL in tools)


def instructions_layer(instructions: str) -> PromptLayer:
    """A layer that puts an agent's instructions into the intro slot."""
    contribution = Contribution(content=instructions)
    return PromptLayer(slots={"intro": SlotLayer(contributions=(contribution,))})


def render_prompt(
    layers: Iterable[PromptLayer],
    *,
    tools: Collection[str] = (),
    builtins: Mapping[PromptBuiltin, str] | None = None,
) -> str:
    """The system prompt that the layers come to, in order; later layers win.

    Args:
        layers: From the agent's to the turn's.
        tools: The names of the tools on offer.
        builtins: The builtin texts; one that is not among them is left out. None for lash's own, and
            those only under a template that a layer gives: nobody's instructions grow unasked.

    A section that comes out empty is left out.
    """
    resolved = sum(layers, PromptLayer())
    template = resolved.template or DEFAULT_TEMPLATE
    if builtins is None:
        asked = resolved.template is not None
        builtins = {name: builtin_text(name, tools=tools) for name in _BUILTINS} if asked else {}
    rendered = (_section(section, resolved, tools, builtins) for section in template.sections)
    return "\n\n".join(text for text in rendered if text)


def _known(slot: PromptSlot) -> PromptSlot:
    if slot not in SLOTS:
        raise ConfigurationError(
            "prompt_slot_unknown",
            f"The prompt has no slot {slot!r}; its slots are {', '.join(SLOTS)}.",
        )
    return slot


def _section(
    section: Section,
    layer: PromptLayer,
    tools: Collection[str],
    builtins: Mapping[PromptBuiltin, str],
) -> str:
    parts: list[str] = []
    for entry in section.entries:
        match entry:
            case TextEntry(text=text):
                parts.append(text.strip())
            case BuiltinEntry(builtin=builtin):
                parts.append(builtins.get(builtin, "").strip())
            case SlotEntry(slot=slot):
                chosen = layer.slots.get(slot, SlotLayer()).contributions
                parts.extend(_contribution(item) for item in _arrange(chosen, tools))
    body = "\n\n".join(part for part in parts if part)
    if not body or section.title is None:
        return body
    return f"## {section.title}\n\n{body}"


def _arrange(
    contributions: Sequence[Contribution], tools: Collection[str]
) -> Iterable[Contribution]:
    """Keep what applies, once each, by priority; equal priorities keep the order of the layers."""
    seen: set[tuple[str | None, str]] = set()
    for item in sorted(contributions, key=lambda item: item.priority):
        wanted = not item.requires_tools or any(name in tools for name in item.requires_tools)
        content = item.content.strip()
        if content and wanted and (item.title, content) not in seen:
            seen.add((item.title, content))
            yield item


def _contribution(item: Contribution) -> str:
    content = item.content.strip()
    return f"### {item.title}\n\n{content}" if item.title else content
