"""`import lash` stays light, and says what it offers."""

import subprocess
import sys
from importlib.metadata import entry_points, requires

import lash
import lash.testing

#: Loaded only by those who use them: vendor SDKs, pydantic, the terminal, the database, what is installed.
HEAVY = (
    *("openai", "pydantic", "httpx2", "mcp", "cronsim", "prompt_toolkit", "rich"),
    *("sqlite3", "importlib.metadata", "hypothesis", "pytest"),
)


def test_import_lash_loads_no_sdk_and_nothing_heavy() -> None:
    program = "import sys, lash; print('\\n'.join(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "lash.app.runtime" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_every_public_name_exists_and_none_is_missing() -> None:
    for module in (lash, lash.testing, lash.events):
        assert sorted(module.__all__) == sorted(set(module.__all__))
        assert all(hasattr(module, name) for name in module.__all__)


def test_public_names_are_the_ones_the_changelog_speaks_of() -> None:
    # Compatibility data: a name may join, but none leaves without a line in CHANGELOG.md.
    assert {
        "Agent",
        "ConfigurationError",
        "ConflictError",
        "Finish",
        "Finished",
        "HistoryMessage",
        "LashError",
        "LeaseLostError",
        "LeaseTimings",
        "LiveTurn",
        "Model",
        "PromptLayer",
        "ReplayError",
        "RetryPolicy",
        "Runtime",
        "Session",
        "SessionBusyError",
        "Stopped",
        "StoreError",
        "ToolContext",
        "ToolError",
        "ToolRetry",
        "TurnResult",
        "Usage",
        "events",
        "tool",
    } <= set(lash.__all__)


def test_only_three_libraries_are_required_and_the_command_is_installed() -> None:
    required = [item for item in requires("lash-runtime") or [] if "extra ==" not in item]
    assert sorted(item.split(">")[0] for item in required) == ["jsonschema", "msgspec", "rich"]
    (command,) = entry_points(group="console_scripts", name="lash")
    assert command.value == "lash.cli:main"
