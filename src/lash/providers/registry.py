"""From the `openai` in `"openai:gpt-5.2"` to a provider."""

from collections.abc import Callable

from lash.core.errors import ConfigurationError
from lash.llm.provider import Provider


def _openai() -> Provider:
    from lash.providers.openai import OpenAICompatible

    return OpenAICompatible.from_env()


_KINDS: dict[str, Callable[[], Provider]] = {"openai": _openai}


def provider_from_environment(kind: str) -> Provider:
    """The provider of a kind, configured from environment variables.

    Raises:
        ConfigurationError: `provider_unknown`, `provider_not_installed`, `provider_not_configured`.
    """
    make = _KINDS.get(kind)
    if make is None:
        known = ", ".join(sorted(_KINDS))
        raise ConfigurationError(
            "provider_unknown",
            f"There is no provider called {kind!r}; lash knows: {known}. For a server that speaks "
            "the OpenAI wire format, pass Model(name, provider=OpenAICompatible(base_url=…)).",
            provider=kind,
        )
    return make()
