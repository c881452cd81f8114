"""How often something is run again, and how long is waited in between: one formula for tools and steps."""

from lash.core.errors import ConfigurationError
from lash.core.json import Data


class Backoff(Data):
    """A number of attempts with doubling waits between them. Milliseconds.

    Attributes:
        max_attempts: Attempts in all, the first included.
        base_delay_ms: The first wait; each further one doubles.
        max_delay_ms: No wait is longer; 0 means no cap.
    """

    max_attempts: int = 3
    base_delay_ms: int = 200
    max_delay_ms: int = 10_000

    def __post_init__(self) -> None:
        """Refuse what cannot be counted or waited.

        Raises:
            ConfigurationError: `retry_invalid`.
        """
        check_retry(self)

    def delay_ms(self, attempt: int, wanted_ms: int | None = None) -> int | None:
        """How long to wait after attempt number `attempt` (from 1); None when it was the last.

        What failed may say itself how long (`wanted_ms`); the cap holds all the same.
        """
        if attempt >= self.max_attempts:
            return None
        delay = self.base_delay_ms << (attempt - 1) if wanted_ms is None else max(wanted_ms, 0)
        return min(delay, self.max_delay_ms) if self.max_delay_ms else delay


def check_retry(policy: Data) -> None:
    """Refuse a retry policy whose fields are not whole numbers in range.

    Raises:
        ConfigurationError: `retry_invalid`.
    """
    for name in policy.__struct_fields__:
        value, least = getattr(policy, name), int(name == "max_attempts")
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigurationError(
                "retry_invalid",
                f"{name} must be a whole number of at least {least}, not {value!r}; times are in "
                "milliseconds.",
                field=name,
            )
