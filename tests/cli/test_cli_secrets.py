"""Keys that stand where no key belongs are not repeated."""

import pytest

from lash.cli import main


@pytest.mark.parametrize(
    "argv",
    [["lash-key-eyJzY29wZSI", "true"], ["resolve", "x", "1", "lash-key-eyJzY29wZSI"]],
    ids=["as a command", "as one word too many"],
)
def test_a_key_is_not_repeated_in_an_error(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    told = capsys.readouterr().err
    assert "eyJzY29wZSI" not in told
    assert "lash-key-…" in told
