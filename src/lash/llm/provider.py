"""The contract every model provider implements: one attempt, streamed, no retries of its own."""

from typing import Protocol

from lash.llm.request import LlmRequest
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit


class Provider(Protocol):
    """A vendor behind one method. The retry ladder above it owns attempts and waiting.

    A vendor that takes only part of JSON Schema says so with a `schema_dialects` (`SchemaDialects`):
    it is then given the schemas of tools and answers in the dialects that it takes.
    """

    @property
    def kind(self) -> str:
        """The provider's name, as in `openai:gpt-5.2`."""
        ...

    @property
    def regenerates_safely(self) -> bool:
        """Whether an answer that broke off after output began may simply be asked for again."""
        ...

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        """Make exactly one attempt, emitting what streams.

        Raises:
            ProviderFailure: The attempt failed; its data says how.
        """
        ...

    async def aclose(self) -> None:
        """Release connections."""
        ...
