"""What a provider says while it answers (facade spec 14.3)."""

from collections.abc import Callable
from typing import TypeAlias

from lash.core.json import Data
from lash.llm.response import ResponsePart
from lash.llm.usage import Usage


class TextDelta(Data, tag_field="type", tag="delta"):
    """More visible text; append only."""

    text: str


class ReasoningDelta(Data, tag_field="type", tag="reasoning_delta"):
    """More reasoning text; append only."""

    text: str


class PartCompleted(Data, tag_field="type", tag="part"):
    """A whole part. Structure, not live text: its text was or was not streamed as deltas."""

    part: ResponsePart


class UsageReported(Data, tag_field="type", tag="usage"):
    """Token counts so far; a later report replaces an earlier one."""

    usage: Usage


StreamEvent: TypeAlias = TextDelta | ReasoningDelta | PartCompleted | UsageReported
Emit: TypeAlias = Callable[[StreamEvent], None]
