"""Token usage in five buckets (turns spec 1.9)."""

from lash.core.errors import LashError
from lash.core.json import Data

#: Counters are stored as signed 64-bit integers.
_LIMIT = 2**63 - 1


class Usage(Data):
    """Tokens of one or many model calls.

    Attributes:
        input_tokens: Prompt tokens billed in full (neither read from nor written to a cache).
        output_tokens: Everything generated, reasoning included.
        cache_read_input_tokens: Prompt tokens read from the provider's cache.
        cache_write_input_tokens: Prompt tokens written to the provider's cache.
        reasoning_output_tokens: The part of `output_tokens` spent on reasoning; never added again.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    reasoning_output_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        """All tokens of the prompt: uncached, read and written."""
        return self.input_tokens + self.cache_read_input_tokens + self.cache_write_input_tokens

    @property
    def total_tokens(self) -> int:
        """Prompt and output together."""
        return self.prompt_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        """Sum two usages.

        Raises:
            LashError: `token_usage_accounting` when a counter is negative or the sum leaves 64 bits.
        """
        sums: dict[str, int] = {}
        for name in FIELDS:
            mine, theirs = getattr(self, name), getattr(other, name)
            sums[name] = mine + theirs
            if mine < 0 or theirs < 0 or sums[name] > _LIMIT:
                raise LashError(
                    "token_usage_accounting",
                    f"The provider's token counts cannot be added up: {name} is {mine} + {theirs}.",
                    field=name,
                )
        return Usage(**sums)


FIELDS = tuple(Usage.__struct_fields__)
