"""Naming a model: a `"provider:model"` string, a `Model`, or a provider object by itself."""

from dataclasses import dataclass
from typing import TypeAlias

from lash.core.errors import ConfigurationError
from lash.llm.provider import Provider
from lash.llm.request import GenerationOptions, ModelSpec
from lash.providers.registry import provider_from_environment


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
