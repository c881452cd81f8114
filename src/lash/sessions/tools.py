"""What a session says about its tools, on top of what its agent has: which take part, which never do. Pure."""

from collections.abc import Mapping

import msgspec

from lash.core.json import Data


class ToolMark(Data):
    """What a session says of one tool.

    Attributes:
        name: What it was called when that was said, for when nobody has it any more.
        member: Whether it takes part.
    """

    name: str
    member: bool = True


class SessionToolState(Data):
    """What a session says about its tools. By default nothing: it has those of its agent.

    Attributes:
        generation: Grows by one with every change.
        marks: What it says of single tools, by their ids.
        others: Whether tools of which it says nothing take part.
        hidden: Ids that are never called, whoever has them now or later.
    """

    generation: int = 0
    marks: Mapping[str, ToolMark] = {}
    others: bool = True
    hidden: tuple[str, ...] = ()

    @property
    def says_nothing(self) -> bool:
        """Whether the session has the tools of its agent, all of them."""
        return self.others and not self.marks and not self.hidden


#: What a session says that has said nothing.
UNTOLD = SessionToolState()


class ChangeTools(Data):
    """A change of what a session says about its tools.

    Attributes:
        expected: Change nothing unless this is the generation; None for whatever it is.
        marks: What is said of single tools; of the others it stays, unless `others` is given.
        others: Whether the others take part; then `marks` says everything there is to say. None leaves it.
        hidden: What is never called, from here on; None leaves it.
    """

    expected: int | None = None
    marks: Mapping[str, ToolMark] = {}
    others: bool | None = None
    hidden: tuple[str, ...] | None = None


def fits(state: SessionToolState, change: ChangeTools) -> bool:
    """Whether a change is for what the session says now."""
    return change.expected in (None, state.generation)


def changed(state: SessionToolState, change: ChangeTools) -> SessionToolState:
    """What a session says after a change that fits."""
    marks = {**(state.marks if change.others is None else {}), **change.marks}
    others = state.others if change.others is None else change.others
    hidden = state.hidden if change.hidden is None else tuple(sorted(set(change.hidden)))
    return SessionToolState(
        generation=state.generation + 1, marks=marks, others=others, hidden=hidden
    )


def inherited(state: SessionToolState, *, same_agent: bool) -> SessionToolState | None:
    """What a child session begins with: what its parent must not do, the child must not do for it.

    A child of the same agent has what the parent has. One of another agent has other tools, of which
    the parent says nothing; what it opted out of and what is hidden holds for them too, by id.
    """
    if state.says_nothing:
        return None
    if same_agent:
        return msgspec.structs.replace(state, generation=0)
    out = {tool_id: mark for tool_id, mark in state.marks.items() if not mark.member}
    return SessionToolState(marks=out, hidden=state.hidden) if out or state.hidden else None
