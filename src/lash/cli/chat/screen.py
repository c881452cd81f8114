"""What the parts of a chat need of whatever shows it."""

from typing import Literal, Protocol, TypeAlias

#: What a line is, which decides how it looks.
Kind: TypeAlias = Literal["user", "answer", "note", "tool", "warning", "error"]


class Screen(Protocol):
    """Shows lines for good, and what is under way for as long as it is."""

    def line(self, text: str, kind: Kind = "note") -> None:
        """Show text for good."""
        ...

    def refresh(self) -> None:
        """What is under way has changed."""
        ...
