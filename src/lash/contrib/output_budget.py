"""What of a tool's output a model is shown: so many bytes and lines of it, and a mark for the rest.

Pure: output and budget in, text out. The whole output stays with the call; this is only what is told.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from lash.core.errors import ConfigurationError
from lash.core.json import Data, JsonValue, canonical

#: The smallest budget: the mark itself has to fit.
MIN_BYTES = 256

#: How much of a budget a mark takes at most, without its hint, in bytes.
_MARK_BYTES = 80


class OutputBudget(Data):
    """How much is shown.

    Attributes:
        max_bytes: Of UTF-8, marks included; 256 at least. Four bytes are about one token.
        max_lines: Of text, marks not included. In JSON it counts for each text in it.
        keep: Which end stays: the `head`, or the `tail`, as for the output of commands.
    """

    max_bytes: int = 16_384
    max_lines: int = 400
    keep: Literal["head", "tail"] = "head"


class Shown(Data):
    """What is shown of an output.

    Attributes:
        text: What the model is told.
        omitted_bytes: How many bytes of the output it is not told: of a text exactly; of JSON, how much
            shorter what it is told is. 0 if it is told everything.
    """

    text: str
    omitted_bytes: int = 0


def shown(output: JsonValue, budget: OutputBudget, *, hint: str = "") -> Shown:
    """What a model is shown of a tool's output: text as it is, other JSON compact, both within a budget.

    JSON keeps its form as long as it can: its longest texts are cut, all to the same length, until the
    whole fits. What is too large without its texts is cut like text, and is no JSON any more.

    Args:
        output: What the tool came to.
        budget: How much is shown.
        hint: Where all of it is, such as a path; added to the mark, which takes half of the budget at
            most.

    Raises:
        ConfigurationError: `tool_set_invalid`: no mark fits into the budget.
    """
    _check(budget)
    if isinstance(output, str):
        return cut_text(output, budget, hint=hint)
    whole = canonical(output)
    text = canonical(_cut_leaves(output, budget, budget.max_bytes, hint))
    if len(text) > budget.max_bytes:
        text = _fitting(output, budget, hint)
    if len(text) > budget.max_bytes:
        return cut_text(whole.decode(), budget, hint=hint)
    return Shown(text=text.decode(), omitted_bytes=max(0, len(whole) - len(text)))


def cut_text(text: str, budget: OutputBudget, *, hint: str = "") -> Shown:
    """What a model is shown of a text; never half a character, and of a single long line a part.

    Raises:
        ConfigurationError: `tool_set_invalid`: no mark fits into the budget.
    """
    _check(budget)
    size = _size(text)
    if size <= budget.max_bytes and _lines(text) <= budget.max_lines:
        return Shown(text=text)
    by_lines = _some_lines(text, budget.max_lines, budget.keep)
    most = budget.max_bytes // 2 - _MARK_BYTES
    tail = f"; {_some_bytes(' '.join(hint.split()), most - 2, 'head')}" if hint else ""
    room = budget.max_bytes - _MARK_BYTES - _size(tail)
    # The mark tells a number, and how long it is depends on how much stays: so it is given its room.
    kept = _some_bytes(by_lines, room, budget.keep)
    if not kept and text:
        kept = _some_bytes(text, room, budget.keep)
    omitted = size - _size(kept)
    if _size(by_lines) == _size(kept):
        mark = f"...{_lines(text) - _lines(kept)} lines ({omitted} bytes) truncated{tail}..."
    else:
        mark = f"...{omitted} bytes truncated{tail}..."
    # After a whole line the mark stands on a line of its own.
    if budget.keep == "head":
        return Shown(text=f"{kept}{_break(kept[-1:])}{mark}", omitted_bytes=omitted)
    return Shown(text=f"{mark}\n{kept}", omitted_bytes=omitted)


def _break(before: str) -> str:
    return "" if before in {"", "\n"} else "\n"


def _check(budget: OutputBudget) -> None:
    if budget.max_bytes < MIN_BYTES or budget.max_lines < 1:
        raise ConfigurationError(
            "tool_set_invalid",
            f"A budget of {budget.max_bytes} bytes and {budget.max_lines} lines shows nothing; give at "
            f"least {MIN_BYTES} bytes and one line.",
        )


# --- text -----------------------------------------------------------------------------------------------


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _lines(text: str) -> int:
    """How many lines a text has; one that ends with a line break has no empty one behind it."""
    return text.count("\n") + (not text.endswith("\n")) if text else 0


def _some_lines(text: str, count: int, keep: str) -> str:
    """The first or last lines of a text."""
    if _lines(text) <= count:
        return text
    if keep == "head":
        end = -1
        for _ in range(count):
            end = text.index("\n", end + 1)
        return text[: end + 1]
    start = len(text) - 1 if text.endswith("\n") else len(text)
    for _ in range(count):
        start = text.rindex("\n", 0, start)
    return text[start + 1 :]


def _some_bytes(text: str, count: int, keep: str) -> str:
    """As much of a text's beginning or end as fits, in whole characters."""
    if len(text) > count:  # a character takes a byte at least
        text = text[:count] if keep == "head" else text[-count:]
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= count:
        return text
    if keep == "head":
        while data[count] & 0xC0 == 0x80:
            count -= 1
        return data[:count].decode("utf-8", "surrogatepass")
    start = len(data) - count
    while start < len(data) and data[start] & 0xC0 == 0x80:
        start += 1
    return data[start:].decode("utf-8", "surrogatepass")


# --- JSON -----------------------------------------------------------------------------------------------


def _each(value: JsonValue, change: Callable[[str], str]) -> JsonValue:
    """A value with each text in it changed; the names of members stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _each(each, change) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_each(each, change) for each in value]
    return value


def _cut_leaves(value: JsonValue, budget: OutputBudget, limit: int, hint: str) -> JsonValue:
    def cut(text: str) -> str:
        if _size(text) <= limit and _lines(text) <= budget.max_lines:
            return text
        return cut_text(
            text,
            OutputBudget(
                max_bytes=max(limit, MIN_BYTES), max_lines=budget.max_lines, keep=budget.keep
            ),
            hint=hint,
        ).text

    return _each(value, cut)


def _fitting(value: JsonValue, budget: OutputBudget, hint: str) -> bytes:
    """The value with its texts cut as little as makes it fit, or as much as they can be."""
    low, high = MIN_BYTES, budget.max_bytes
    best = canonical(_cut_leaves(value, budget, low, hint))
    while low < high - 1 and len(best) <= budget.max_bytes:
        middle = (low + high) // 2
        text = canonical(_cut_leaves(value, budget, middle, hint))
        if len(text) <= budget.max_bytes:
            low, best = middle, text
        else:
            high = middle
    return best
