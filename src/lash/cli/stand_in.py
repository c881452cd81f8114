"""Agents for a replay, where no model is asked: neither its SDK nor its key has to be there."""

import copy
import dataclasses

from lash.app.agent import Agent
from lash.app.model import Model
from lash.core.errors import LashError
from lash.llm.request import LlmRequest
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit
from lash.runtime.agents import AgentDefinition


class StandInProvider:
    """Has a provider's name and answers nothing."""

    regenerates_safely = False

    def __init__(self, kind: str) -> None:
        self.kind = kind

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        """Never called.

        Raises:
            LashError: `provider_not_configured`.
        """
        del request, emit
        raise LashError("provider_not_configured", "No model is asked while a turn is replayed.")

    async def aclose(self) -> None:
        """Nothing to let go of."""


def define_without_provider(agent: Agent) -> AgentDefinition:
    """The agent's definition, with a stand-in where its provider is configured by the environment.

    Raises:
        ConfigurationError: `model_invalid`.
    """
    model = Model(agent.model) if isinstance(agent.model, str) else agent.model
    if not isinstance(model, Model) or model.provider is not None:
        return agent.define()
    kind, colon, name = model.name.partition(":")
    if not colon or not kind.strip() or not name.strip():
        return agent.define()  # which says what is wrong with it
    twin = copy.copy(agent)
    twin.model = dataclasses.replace(model, name=name, provider=StandInProvider(kind))
    return twin.define()
