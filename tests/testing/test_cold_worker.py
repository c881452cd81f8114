"""The worker of cold processes: how it finds what it opens, and what its command line says."""

import json
import sys
from pathlib import Path

import msgspec
import pytest

from lash.core.scopes import RuntimeOperationScope
from lash.effects.waits.model import CustomWait
from lash.testing.conformance import worker_command
from lash.testing.conformance.cold import find
from lash.testing.conformance.hosts.roles import ROLES, MintAndPark, argument_of, role_of


def test_a_factory_is_found_by_its_module() -> None:
    found: object = find("json:dumps")

    assert found is json.dumps


def test_a_factory_is_found_by_its_file_together_with_its_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "neighbour_of_mine.py").write_text("NAME = 'next door'\n")
    place = tmp_path / "my_host.py"
    place.write_text(
        "import neighbour_of_mine\n\ndef open_host(substrate):\n    return substrate\n"
    )

    found = find(f"{place}:open_host")

    assert found.__globals__["neighbour_of_mine"].NAME == "next door"


def test_a_factory_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        find("json:no_such_thing")


def test_a_part_travels_on_the_command_line() -> None:
    part = MintAndPark(
        scope=RuntimeOperationScope(operation_id="o"), wait=CustomWait(key="approval")
    )

    line = worker_command("my_package:host", "place", role_of(part), argument_of(part))

    assert line[:6] == [
        sys.executable,
        "-m",
        "lash.testing.conformance.cold",
        "my_package:host",
        "place",
        "mint-and-park",
    ]
    assert json.loads(line[6]) == {
        "scope": {"type": "runtime_operation", "operation_id": "o"},
        "wait": {"type": "custom", "key": "approval"},
    }
    assert msgspec.json.decode(line[6], type=ROLES[line[5]]) == part
