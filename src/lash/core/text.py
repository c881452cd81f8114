"""Text that can be stored. Python strings may hold surrogates, which UTF-8 cannot carry.

What a model or server sent is mended (`well_formed`); what an error says is spelled out (`spelled_out`),
so that nothing of it is lost to whoever reads it.
"""


def well_formed(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates replaced.

    Servers that cut an escaped emoji in two send halves; joined again they are the emoji.
    """
    if is_utf8(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def spelled_out(text: str) -> str:
    """The text with what UTF-8 cannot carry written as an escape."""
    return text.encode(errors="backslashreplace").decode()


def key_part(name: str) -> str:
    """A name from outside as one part of a key whose parts are joined by colons: none run together."""
    return name.replace("%", "%25").replace(":", "%3A")


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can carry the text."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def described(error: BaseException) -> str:
    """An exception in one line, as text that can be stored."""
    try:
        said = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001  an exception of somebody else's may not even have a text
        said = ""
    return spelled_out(f"{type(error).__name__}: {said}" if said else type(error).__name__)
