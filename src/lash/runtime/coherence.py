"""Whether the parts of a runtime promise the same: checked once, before anything is started.

Durable effects over a store that forgets, or over one that forgets a part of them, would look as if
they survived until the first crash. So such a mix is refused, and everything wrong with it is named.
"""

from collections.abc import Mapping

from lash.core.errors import ConfigurationError
from lash.core.tiers import DurabilityTier


def check_coherence(host: DurabilityTier, facets: Mapping[str, DurabilityTier]) -> None:
    """Refuse durable effects beside facets that die with the process.

    Raises:
        ConfigurationError: `durable_store_required`, with every wrong facet in `details["facets"]`.
    """
    forgetful = sorted(name for name, tier in facets.items() if tier == "ephemeral")
    if host != "durable" or not forgetful:
        return
    listed = ", ".join(forgetful)
    raise ConfigurationError(
        "durable_store_required",
        f"Effects are durable here, but these parts of the store die with the process: {listed}. "
        "Keep them in a database, or use ':memory:' for everything.",
        facets=forgetful,
    )
