"""`lash vacuum` sweeps attachments, with a day's grace and never all there is."""

import asyncio
import json
from pathlib import Path

import pytest

import lash
from lash.cli import main
from lash.testing import VirtualClock


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fill(*, keep: bool) -> None:
    """A database of long ago with two attachments, of which one may be kept."""

    async def work() -> None:
        async with lash.Runtime("lash.db", clock=VirtualClock()) as runtime:
            attachments = runtime.session("s").attachments
            ref = await attachments.put(b"kept")
            await attachments.put(bytes(300 * 1024))
            if keep:
                await attachments.keep(ref.id)

    asyncio.run(work())


def vacuum(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert main(["vacuum", "--older-than", "0s", "--json"]) == 0
    told: dict[str, object] = json.loads(capsys.readouterr().out)
    return told


def test_what_nobody_refers_to_goes_once_it_is_a_day_old(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(keep=True)

    async def put_now() -> None:
        async with lash.Runtime("lash.db") as runtime:
            await runtime.session("s").attachments.put(b"new")

    asyncio.run(put_now())
    told = vacuum(capsys)
    assert told["status"] == "removed"
    swept = told["attachments"]
    assert isinstance(swept, dict)
    assert (swept["scanned"], swept["reclaimed"], swept["forgotten"]) == (3, 1, 1)
    assert vacuum(capsys)["status"] == "empty"
    assert main(["vacuum"]) == 0
    assert capsys.readouterr().out == "empty: There was nothing to remove.\n"


def test_a_person_is_told_how_many(capsys: pytest.CaptureFixture[str]) -> None:
    fill(keep=True)
    assert main(["vacuum"]) == 0
    assert "  removed   attachment: 1\n" in capsys.readouterr().out


def test_all_of_them_stay_when_nobody_refers_to_any(capsys: pytest.CaptureFixture[str]) -> None:
    fill(keep=False)
    told = vacuum(capsys)
    assert told["status"] == "blocked"
    assert main(["vacuum"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("blocked: ")
    assert "  stays     2 attachments, to which nobody refers at all\n" in out
