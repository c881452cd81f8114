"""The bench of tool calls runs, measures what it says it does, and tells it."""

import json

from bench_programs import said


def test_a_quick_run_measures_everything_and_can_be_said() -> None:
    facts = json.loads(said("tools.py", "--quick", "--no-mcp", "--json"))
    for place in ("memory", "sqlite"):
        for kind in ("sync", "async"):
            for count in (1, 8):
                assert facts[f"{place}_{kind}_{count}_us"]["n"] == 1
    assert facts["many_tools_us"]["median"] > 0
    assert facts["hooks_us"]["n"] == 1
    program = "import json, sys, tools; tools.report(json.load(sys.stdin), tools.QUICK)"
    shown = said("-c", program, given=json.dumps(facts))
    assert "turn of one call, 100 tools" in shown
    assert "as a tool, sqlite, 8 a message" in shown
    assert "MCP call" not in shown
