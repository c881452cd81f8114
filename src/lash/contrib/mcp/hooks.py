"""What an MCP server may ask of the host, and what the host answers."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeAlias

from lash.core.json import Data, JsonObject


class SamplingRequest(Data):
    """A server asks for a model's answer.

    Attributes:
        server: Which server asks.
        messages: The conversation as the server sent it, in MCP's form.
        params: Everything it sent, in MCP's form.
        system_prompt: The system prompt it wishes for.
        max_tokens: The longest answer it wants.
    """

    server: str
    messages: Sequence[JsonObject]
    params: JsonObject
    system_prompt: str | None = None
    max_tokens: int | None = None


class SamplingAnswer(Data):
    """What the host's model said.

    Attributes:
        text: The answer.
        model: Which model gave it.
        stop_reason: Why it ended, in MCP's words.
    """

    text: str
    model: str
    stop_reason: str = "endTurn"


class Elicitation(Data):
    """A server asks for something a person has to say.

    Attributes:
        server: Which server asks.
        message: What is to be shown.
        mode: `form` for answers to a schema; `url` to send the person somewhere.
        schema: What an answer must fit, with `form`.
        url: Where to send the person, with `url`.
    """

    server: str
    message: str
    mode: Literal["form", "url"] = "form"
    schema: JsonObject | None = None
    url: str | None = None


class ElicitationAnswer(Data):
    """What the person said.

    Attributes:
        action: Whether they accepted, declined, or just went away.
        content: With `accept` of a form: the answers by name. They are checked against the schema.
    """

    action: Literal["accept", "decline", "cancel"]
    content: JsonObject | None = None


class Root(Data):
    """A place that a server may look at.

    Attributes:
        uri: Such as `file:///srv/data`.
        name: What it is shown as.
    """

    uri: str
    name: str | None = None


Sampling: TypeAlias = Callable[[SamplingRequest], Awaitable[SamplingAnswer]]
Eliciting: TypeAlias = Callable[[Elicitation], Awaitable[ElicitationAnswer]]
Roots: TypeAlias = Callable[[], Awaitable[Sequence[Root]]]
