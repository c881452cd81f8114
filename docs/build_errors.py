"""Write docs/errors.md from the catalogue of codes. `--check` only says whether it is up to date."""

import sys
from pathlib import Path

from lash.core.errors import CATALOGUE, Blame

PAGE = Path(__file__).with_name("errors.md")
INTRO = """\
# Errors

Every error lash raises is a `lash.LashError` with a `code`, a message that says what happened and what
to do, `retryable`, `terminal` and `details`. Catch a subclass where you want to react:
`ConfigurationError`, `StoreError`, `SessionBusyError`, `LeaseLostError`, `ConflictError`, `ReplayError`.

Two sorts of trouble are never raised out of a turn: what a model provider said and what a tool failed
with are data in `TurnResult.issues`, `.llm_calls` and `.tool_calls`. Their codes are listed here too.

*Retryable*: the same call may succeed later without a change. *Terminal*: it cannot succeed without
one. This page is written by `python docs/build_errors.py`.
"""
TITLES: dict[Blame, str] = {
    "caller": "Asked for something that cannot be",
    "code": "Stored work meets other code",
    "peer": "Another process was faster",
    "store": "The database",
    "provider": "The model provider",
    "tool": "Tools",
    "lash": "Defects of lash or of a store",
}


def render() -> str:
    """The page as it should be."""
    parts = [INTRO]
    for blame, title in TITLES.items():
        parts.append(
            f"\n## {title}\n\n| code | meaning | retryable | terminal |\n|---|---|---|---|\n"
        )
        for code, info in sorted(CATALOGUE.items()):
            if info.blame == blame:
                flags = f"{'yes' if info.retryable else ''} | {'yes' if info.terminal else ''}"
                parts.append(f"| `{code}` | {info.summary} | {flags} |\n")
    return "".join(parts)


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text() != render() and "docs/errors.md is out of date; run this script")
    PAGE.write_text(render())
