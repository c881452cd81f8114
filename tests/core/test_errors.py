"""The one error type, its fields and the catalogue of codes."""

import ast
import copy
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import lash.core.errors
from lash.core.errors import (
    CATALOGUE,
    ConfigurationError,
    ConflictError,
    LashError,
    LeaseLostError,
    ReplayError,
    SessionBusyError,
    StoreError,
)

SOURCES = Path(lash.core.errors.__file__).parents[1]
KINDS = [
    LashError,
    ConfigurationError,
    ConflictError,
    LeaseLostError,
    ReplayError,
    SessionBusyError,
    StoreError,
]


def test_an_error_carries_code_message_and_details() -> None:
    error = LashError("session_execution_busy", "Session s is driven elsewhere.", holder="w1")
    assert error.code == "session_execution_busy"
    assert error.message == "Session s is driven elsewhere."
    assert error.details == {"holder": "w1"}
    assert str(error) == "Session s is driven elsewhere. [session_execution_busy]"


@pytest.mark.parametrize(
    ("code", "retryable", "terminal"),
    [
        ("session_execution_busy", True, False),
        ("effect_replay_mismatch", False, True),
        ("empty_response", False, False),
        ("a_code_of_a_plugin", False, False),
    ],
)
def test_the_catalogue_says_whether_trying_again_can_help(
    code: str, retryable: bool, terminal: bool
) -> None:
    error = LashError(code, "Something.")
    assert (error.retryable, error.terminal) == (retryable, terminal)


def test_an_unknown_code_is_kept() -> None:
    assert LashError("a_code_of_a_plugin", "Something.").code == "a_code_of_a_plugin"


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_pickling_and_copying(kind: type[LashError]) -> None:
    error = kind("head_revision_conflict", "It moved on.", expected=3, found=4)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301  our own bytes
        assert type(twin) is kind
        assert str(twin) == "It moved on. [head_revision_conflict]"
        assert twin.details == {"expected": 3, "found": 4}
        assert twin.retryable is True


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_code_of_the_catalogue_is_well_formed(code: str) -> None:
    info = CATALOGUE[code]
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", code)
    assert info.summary == info.summary.strip()
    assert info.summary.endswith(".")
    assert info.summary[0].isupper()
    assert not (info.retryable and info.terminal), "it can help, or it can never help"


def raised_codes() -> Iterator[tuple[str, str]]:
    """Every literal code given to a `LashError` or a subclass of it anywhere in lash."""
    names = {kind.__name__ for kind in KINDS}
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            first = node.args[0] if node.args else None
            if node.func.id in names and isinstance(first, ast.Constant):
                yield str(first.value), f"{path.name}:{node.lineno}"


def test_every_code_that_is_raised_is_in_the_catalogue() -> None:
    found = list(raised_codes())
    assert len(found) > 10, "the search itself is broken"
    assert [place for code, place in found if code not in CATALOGUE] == []
