"""Prompt assembly with layers (turns spec 1.11, facade spec 10).

Layers are resolved in order (capability, plugin, core, session, turn; later wins): a later template
replaces the earlier one, a slot with `reset` discards what earlier layers put in that slot, anything
else appends. What changes from request to request does not belong here: the system prompt is the
first thing a provider's prompt cache looks at.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

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
    """What one level says about the prompt. Layers add up with `+`; the right one wins."""

    template: PromptTemplate | None = None
    slots: Mapping[PromptSlot, SlotLayer] = {}

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

    A builtin that is not given is left out, as is a section that comes out empty.
    """
    resolved = sum(layers, PromptLayer())
    template = resolved.template or DEFAULT_TEMPLATE
    rendered = (_section(section, resolved, tools, builtins or {}) for section in template.sections)
    return "\n\n".join(text for text in rendered if text)


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
