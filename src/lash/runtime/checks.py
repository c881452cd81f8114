"""Refusing what could not be stored, before anything is accepted."""

from typing import TypeVar

import msgspec

from lash.core.errors import LashError
from lash.core.json import Data, encode
from lash.core.text import described, is_utf8

D = TypeVar("D", bound=Data)

#: Part of the ids of turns that go on where another turn handed its task to.
_OWN_TURNS = ":agent-frame:"


def check_id(value: object, code: str, what: str) -> None:
    """Refuse an id that could not be stored or told from another.

    Raises:
        LashError: With `code`.
    """
    if not isinstance(value, str):
        raise LashError(code, f"{what} must be text, not {type(value).__name__}.")
    if not value.strip():
        raise LashError(code, f"{what} must not be blank; nothing was accepted. Give it a name.")
    if not is_utf8(value):
        raise LashError(code, f"{what} holds text that UTF-8 cannot carry: {value!r}.")


def check_turn_id(value: object) -> None:
    """Refuse an id for a new turn that could not be stored, or that lash makes itself.

    Raises:
        LashError: `turn_id_invalid`.
    """
    check_id(value, "turn_id_invalid", "A turn id")
    if isinstance(value, str) and _OWN_TURNS in value:
        raise LashError(
            "turn_id_invalid",
            f"Turn ids with {_OWN_TURNS!r} are made by lash, for turns that go on in another agent "
            "frame; nothing was accepted. Choose another id.",
        )


def check_prompt(prompt: object) -> str:
    """A prompt that can be stored.

    Raises:
        LashError: `turn_input_invalid`, `turn_input_empty`.
    """
    if not isinstance(prompt, str):
        raise LashError(
            "turn_input_invalid",
            f"The prompt must be text, not {type(prompt).__name__}; nothing was accepted.",
        )
    if not prompt.strip():
        raise LashError(
            "turn_input_empty",
            "The prompt is empty; nothing was accepted. Say what the agent should do.",
        )
    if not is_utf8(prompt):
        raise LashError(
            "turn_input_invalid",
            "The prompt holds text that UTF-8 cannot carry (an unpaired surrogate); nothing was "
            "accepted. Decode the text properly, or replace such characters.",
        )
    return prompt


def check_storable(value: D, code: str, what: str) -> D:
    """A value that reads back from the store as it is; what annotations promise is checked here.

    Raises:
        LashError: With `code`.
    """
    try:
        kept = msgspec.json.decode(encode(value), type=type(value))
    except (TypeError, ValueError, RecursionError, LashError) as error:
        raise LashError(
            code, f"{what} cannot be kept: {described(error)}. Nothing was accepted."
        ) from error
    if kept != value:
        raise LashError(code, f"{what} cannot be kept as it is. Nothing was accepted.")
    return value
