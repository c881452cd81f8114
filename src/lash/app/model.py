"""Naming a model: a `"provider:model"` string, a `Model`, or a provider object by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

from lash.core.errors import ConfigurationError
from lash.llm.provider import Provider
from lash.llm.request import GenerationOptions, ModelSpec
from lash.llm.retry import RetryPolicy
from lash.providers.registry import provider_from_environment
from lash.runtime.agents import AgentRegistry
from lash.runtime.direct import BoundModel


@dataclass(frozen=True, slots=True)
class Model:
    """A model with what the host knows about it; nothing is guessed from its name.

    Attributes:
        name: The model's name at its provider, or `"provider:model"`.
        provider: The provider object; without one, `name` must hold the provider's kind and the
            provider is configured from the environment.
        context_window: Prompt tokens the model takes; lets an overflow be told from a short answer.
        max_output_tokens: The most it may generate per call.
        temperature: Sampling temperature.
        top_p: Nucleus sampling.
        seed: Asks for repeatable sampling where the provider has it.
        reasoning_effort: The provider's own word for how long to think.
    """

    name: str
    provider: Provider | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    reasoning_effort: str | None = None

    def __post_init__(self) -> None:
        for label in ("context_window", "max_output_tokens"):
            limit = getattr(self, label)
            if limit is not None and limit < 1:
                raise ConfigurationError(
                    "model_invalid",
                    f"{label} must be at least 1, not {limit}; leave it out if unknown.",
                )


ModelLike: TypeAlias = str | Model | Provider


def resolve_model(model: ModelLike) -> tuple[ModelSpec, Provider]:
    """The model's data and the provider that serves it.

    Raises:
        ConfigurationError: `model_invalid`, `provider_unknown`, `provider_not_installed`,
            `provider_not_configured`.
    """
    if isinstance(model, str):
        model = Model(model)
    elif not isinstance(model, Model):
        if not hasattr(model, "complete"):
            raise ConfigurationError(
                "model_invalid",
                f"{model!r} is not a model; pass 'provider:model', a Model, or a provider.",
            )
        model = Model(getattr(model, "name", model.kind), provider=model)
    provider, name = model.provider, model.name
    if provider is None:
        kind, colon, name = name.partition(":")
        if not colon or not kind.strip() or not name.strip():
            raise ConfigurationError(
                "model_invalid",
                f"{model.name!r} names no provider; write it as 'provider:model', for example "
                "'openai:gpt-5.2', or pass a Model with a provider.",
                model=model.name,
            )
        provider = provider_from_environment(kind)
    if not name.strip():
        raise ConfigurationError("model_invalid", "The model's name is blank.")
    generation = GenerationOptions(
        output_token_cap=model.max_output_tokens,
        temperature=model.temperature,
        top_p=model.top_p,
        seed=model.seed,
        reasoning_effort=model.reasoning_effort,
    )
    spec = ModelSpec(
        provider=provider.kind,
        name=name,
        context_window_tokens=model.context_window,
        generation=generation,
    )
    return spec, provider


def _named(model: object) -> str | Model | None:
    """A model that names its provider, so that one has to be made for it; None for any other."""
    if isinstance(model, str):
        return model
    return model if isinstance(model, Model) and model.provider is None else None


class Models:
    """The models that callers name beside the agents' own; each provider is made once, and closed."""

    def __init__(self, agents: AgentRegistry) -> None:
        self._agents = agents
        self._named: dict[str | Model, BoundModel] = {}
        self._given: dict[int, Provider] = {}

    def resolve(self, model: object) -> BoundModel:
        """The model that `model` names; None names that of the only agent.

        Raises:
            ConfigurationError: `agent_ambiguous`, `agent_unknown`, and what `resolve_model` raises.
        """
        if model is None:
            return self._only_agents()
        named = _named(model)
        known = self._named.get(named) if named is not None else None
        if known is not None:
            return known
        spec, provider = resolve_model(cast("ModelLike", model))
        bound = BoundModel(spec=spec, provider=provider, retry=RetryPolicy())
        if named is not None:
            self._named[named] = bound
        self._given[id(provider)] = provider
        return bound

    def providers(self) -> Sequence[Provider]:
        """Everything that is to be closed."""
        agents = {id(agent.provider): agent.provider for agent in self._agents}
        return list({**agents, **self._given}.values())

    def _only_agents(self) -> BoundModel:
        names = self._agents.names
        if len(names) != 1:
            known = ", ".join(names) or "none"
            raise ConfigurationError(
                "agent_ambiguous" if names else "agent_unknown",
                f"Say which model to ask with model=…; the registered agents are: {known}.",
            )
        agent = self._agents.newest(names[0])
        return BoundModel(spec=agent.model, provider=agent.provider, retry=agent.retry)
