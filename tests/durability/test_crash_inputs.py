"""Input on its way into a turn, and requests to stop one, with SIGKILL at every point they pass.

The tables were written by hand; `crash_scene` says what a kill at a point of each kind means. A test
of each scenario holds that it passes the points of its table and no others, so that a point that is
new asks for a row.
"""

from pathlib import Path
from typing import Any

import pytest
from crash_matrix import Pair, Point, every_kill, pairs
from crash_scene import (
    Left,
    Scene,
    Session,
    Table,
    accepted,
    check_kill,
    check_pair,
    check_undisturbed,
    committed,
    looked,
    model,
    taken,
    tool,
)

pytestmark = pytest.mark.slow

# --- input brought into a running turn ----------------------------------------------------------------------

#: Nobody brought anything: the turn as it is without.
PLAIN = Left(
    {
        "s": Session(
            [("t1", "Done.", "a:success", 2)],
            """
            user: t1
            assistant: [a]
            user: <a: a done>
            assistant: Done.
            """,
        )
    },
    "t1.1 a t1.2",
)
#: Taken after the tool: the model hears it in place of coming to its end.
HEARD = Left(
    {
        "s": Session(
            [("t1", "Heard also x.", "a:success", 2)],
            """
            user: t1
            assistant: [a]
            user: <a: a done>
            user: also x
            assistant: Heard also x.
            """,
        )
    },
    "t1.1 a t1.heard",
    [("k1", "completed", "t1")],
)
#: Taken when the model thought it was done.
HEARD_LATE = Left(
    {
        "s": Session(
            [("t1", "Heard also x.", "a:success", 3)],
            """
            user: t1
            assistant: [a]
            user: <a: a done>
            assistant: Done.
            user: also x
            assistant: Heard also x.
            """,
        )
    },
    "t1.1 a t1.2 t1.heard",
    [("k1", "completed", "t1")],
)
#: Too late for the turn: the next one is made of it.
NEXT = Left(
    {
        "s": Session(
            [
                ("t1", "Done.", "a:success", 2),
                ("input-other-p1-1:turn", "Later.", "", 1),
            ],
            """
            user: t1
            assistant: [a]
            user: <a: a done>
            assistant: Done.
            user: also x
            assistant: Later.
            """,
        )
    },
    "t1.1 a t1.2 also.1",
    [("k1", "completed", "input-other-p1-1:turn")],
)

ENQUEUED = Point("other.enqueue.inside", "plain")
AGAIN = {"nothing": "plain", "plain": "plain", "heard": "heard", "next": "next"}

INJECT_IN_TOOL = Table(
    "inject_in_tool",
    [
        *accepted("nothing", "plain"),
        *model("t1.1", "plain"),
        *tool("a", "plain", ENQUEUED, then="heard"),
        *taken("heard"),
        *model("t1.heard", "heard"),
        *looked("heard"),
        *committed("heard"),
    ],
    {"plain": PLAIN, "heard": HEARD},
    repeated=AGAIN,
)
INJECT_FOR_THE_END = Table(
    "inject_in_tool_for_the_end",
    [
        *accepted("nothing", "plain"),
        *model("t1.1", "plain"),
        *tool("a", "plain", ENQUEUED, then="heard"),
        *looked("heard"),
        *model("t1.2", "heard"),
        *taken("heard"),
        *model("t1.heard", "heard"),
        *looked("heard"),
        *committed("heard"),
    ],
    {"plain": PLAIN, "heard": HEARD_LATE},
    common=11,
)
INJECT_AT_FIRST = Table(
    "inject_at_first_checkpoint",
    [
        *accepted("nothing", "plain"),
        *model("t1.1", "plain"),
        *tool("a", "plain"),
        *taken("plain", ENQUEUED, then="heard"),
        *model("t1.heard", "heard"),
        *looked("heard"),
        *committed("heard"),
    ],
    {"plain": PLAIN, "heard": HEARD},
    common=9,
)
INJECT_AT_LAST = Table(
    "inject_at_last_checkpoint",
    [
        *accepted("nothing", "plain"),
        *model("t1.1", "plain"),
        *tool("a", "plain"),
        *looked("plain"),
        *model("t1.2", "plain"),
        *taken("plain", ENQUEUED, then="heard"),
        *model("t1.heard", "heard"),
        *looked("heard"),
        *committed("heard"),
    ],
    {"plain": PLAIN, "heard": HEARD_LATE},
    common=15,
)
INJECT_AT_COMMIT = Table(
    "inject_at_commit",
    [
        *accepted("nothing", "plain"),
        *model("t1.1", "plain"),
        *tool("a", "plain"),
        *looked("plain"),
        *model("t1.2", "plain"),
        *looked("plain"),
        # A recovering process replays the last checkpoint, which had found nothing and was not
        # recorded: it asks again, and this time there is something.
        Point("commit.before", "plain"),
        ENQUEUED,
        Point("commit.inside", "heard"),
        Point("commit.after", "next"),
        *model("also.1", "next"),
        *looked("next"),
        *committed("next"),
    ],
    {"plain": PLAIN, "heard": HEARD_LATE, "next": NEXT},
    common=23,
    repeated=AGAIN,
)

# --- requests to stop ---------------------------------------------------------------------------------------

#: Stopped in the first model call's tool, or behind it: what was done stays.
STOPPED = Left(
    {
        "s": Session(
            [("t1", "stopped by ana", "a:success", 1)],
            """
            user: t1
            assistant: [a]
            user: <a: a done>
            """,
        )
    },
    "t1.1 a",
)
#: The call under way was dropped, and it is not made again.
STOPPED_IN_MODEL = Left(STOPPED.sessions, "t1.1 a t1.2")
#: The model had answered: its answer is not kept, but it was paid.
STOPPED_AT_COMMIT = Left(
    {
        "s": Session(
            [("t1", "stopped by ana", "a:success", 2)],
            """
            user: t1
            assistant: [a]
            user: <a: a done>
            """,
        )
    },
    "t1.1 a t1.2",
)
#: The tool did not end; its call has an answer all the same. A later process does not start it.
STOPPED_IN_TOOL = Left(
    {
        "s": Session(
            [("t1", "stopped by ana", "a:cancelled", 1)],
            """
            user: t1
            assistant: [a]
            user: <a: [Tool execution cancelled] tool call cancelled>
            """,
        )
    },
    "t1.1 a",
)
HELLO = ("t0", "Hello.", "", 1)
FIRST = Left({"s": Session([HELLO], "user: t0 \n assistant: Hello.")}, "t0.1")
STOPPED_AT_ONCE = Left(
    {
        "s": Session(
            [HELLO, ("t1", "stopped by ana", "", 0)],
            """
            user: t0
            assistant: Hello.
            user: t1
            """,
        )
    },
    "t0.1",
)
NOT_STOPPED = Left(
    {
        "s": Session(
            [HELLO, ("t1", "Done.", "a:success", 2)],
            """
            user: t0
            assistant: Hello.
            user: t1
            assistant: [a]
            user: <a: a done>
            assistant: Done.
            """,
        )
    },
    "t0.1 t1.1 a t1.2",
)

ASKED = Point("other.cancel.inside", "plain")

CANCEL_BEFORE_START = Table(
    "cancel_before_start",
    [
        *accepted("nothing", "first"),
        *model("t0.1", "first"),
        *looked("first"),
        *committed("first"),
        Point("application", "first"),
        # The request did not come through: the turn is made.
        Point("other.cancel.inside", "not stopped"),
        *accepted("first", "stopped"),
        *committed("stopped"),
    ],
    {"first": FIRST, "stopped": STOPPED_AT_ONCE, "not stopped": NOT_STOPPED},
    common=13,
    repeated={"stopped": "stopped"},
)
CANCEL_IN_MODEL = Table(
    "cancel_in_model",
    [
        *accepted("nothing", "plain"),
        *model("t1.1", "plain"),
        *tool("a", "plain"),
        *looked("plain"),
        Point("model.before", "plain"),
        Point("during.t1.2", "plain", "t1.2"),
        ASKED,
        *committed("stopped"),
    ],
    {"plain": PLAIN, "stopped": STOPPED_IN_MODEL},
    common=16,
    repeated={"stopped": "stopped"},
)
CANCEL_IN_TOOL = Table(
    "cancel_in_tool",
    [
        *accepted("nothing", "plain"),
        *model("t1.1", "plain"),
        Point("tool.before", "plain"),
        Point("during.a", "plain", "a"),
        ASKED,
        *committed("stopped"),
    ],
    {"plain": PLAIN, "stopped": STOPPED_IN_TOOL},
    common=9,
    repeated={"stopped": "stopped"},
)
CANCEL_IN_TOOL_THAT_ENDS = Table(
    "cancel_in_tool_that_ends",
    [
        *accepted("nothing", "plain"),
        *model("t1.1", "plain"),
        Point("tool.before", "plain"),
        Point("during.a", "plain", "a"),
        ASKED,
        # It ended within its grace, and the process died before that was written down: whoever comes
        # next begins nothing any more, so the call was cancelled.
        Point("tool.after", "stopped in tool"),
        Point("record.before", "stopped in tool"),
        Point("record.inside", "stopped in tool"),
        Point("record.after", "stopped"),
        *committed("stopped"),
    ],
    {"plain": PLAIN, "stopped": STOPPED, "stopped in tool": STOPPED_IN_TOOL},
    common=11,
)
CANCEL_AT_COMMIT = Table(
    "cancel_at_commit",
    [
        *accepted("nothing", "plain"),
        *model("t1.1", "plain"),
        *tool("a", "plain"),
        *looked("plain"),
        *model("t1.2", "plain"),
        *looked("plain"),
        *committed("plain", ASKED, then="stopped"),
    ],
    {"plain": PLAIN, "stopped": STOPPED_AT_COMMIT},
    common=23,
    repeated={"stopped": "stopped"},
)

# --- queued input that one turn is made of --------------------------------------------------------------------


def composed(count: int) -> Left:
    """The turn after `t1` is made of so many items, which are one message."""
    keys = [f"k{number}" for number in range(1, count + 1)]
    said = {1: "q1 please", 2: "q1 please q2 please", 3: "q1 please q2 please q3 please"}
    return Left(
        {
            "s": Session(
                [
                    ("t1", "Done.", "a:success", 2),
                    ("input-other-p1-1:turn", "All three.", "b:success", 2),
                ],
                f"""
                user: t1
                assistant: [a]
                user: <a: a done>
                assistant: Done.
                user: {said[count]}
                assistant: [b]
                user: <b: b done>
                assistant: All three.
                """,
            )
        },
        "t1.1 a t1.2 q1.1 b q1.2",
        [(key, "completed", "input-other-p1-1:turn") for key in keys],
    )


COMPOSITION = Table(
    "composition",
    [
        *accepted("nothing", "plain"),
        *model("t1.1", "plain"),
        *tool(
            "a",
            "plain",
            Point("other.enqueue.inside", "plain"),
            Point("other.enqueue.inside", "one"),
            Point("other.enqueue.inside", "two"),
            then="three",
        ),
        *looked("three"),
        *model("t1.2", "three"),
        *looked("three"),
        *committed("three"),
        *model("q1.1", "three"),
        *tool("b", "three"),
        *looked("three"),
        *model("q1.2", "three"),
        *looked("three"),
        *committed("three"),
    ],
    {"plain": PLAIN, "one": composed(1), "two": composed(2), "three": composed(3)},
    common=10,
    repeated={"three": "three"},
)

TABLES = [
    (INJECT_IN_TOOL, "heard"),
    (INJECT_FOR_THE_END, "heard"),
    (INJECT_AT_FIRST, "heard"),
    (INJECT_AT_LAST, "heard"),
    (INJECT_AT_COMMIT, "next"),
    (CANCEL_BEFORE_START, "stopped"),
    (CANCEL_IN_MODEL, "stopped"),
    (CANCEL_IN_TOOL, "stopped"),
    (CANCEL_IN_TOOL_THAT_ENDS, "stopped"),
    (CANCEL_AT_COMMIT, "stopped"),
    (COMPOSITION, "three"),
]

#: The second process passes `claim.inside` first, then what was not recorded.
PAIRS = [
    *pairs(
        INJECT_IN_TOOL,
        Pair("tool.after", 1, "claim.inside", 1, "heard", "a"),
        Pair("checkpoint.before", 1, "checkpoint.inside", 1, "heard"),
        Pair("checkpoint.inside", 1, "checkpoint.inside", 1, "heard"),
        Pair("checkpoint.after", 1, "checkpoint.after", 1, "heard"),
        Pair("record.inside", 3, "record.inside", 1, "heard"),
        Pair("record.after", 3, "during.t1.heard", 1, "heard", "t1.heard"),
        Pair("commit.inside", 1, "commit.inside", 1, "heard"),
    ),
    *pairs(
        INJECT_AT_COMMIT,
        Pair("commit.inside", 1, "checkpoint.inside", 1, "heard"),
        Pair("commit.after", 1, "record.inside", 1, "next", "also.1"),
        Pair("commit.after", 1, "commit.after", 1, "next"),
    ),
    *pairs(
        CANCEL_IN_MODEL,
        Pair("commit.before", 1, "commit.before", 1, "stopped"),
        Pair("commit.inside", 1, "commit.inside", 1, "stopped"),
    ),
    *pairs(
        CANCEL_IN_TOOL,
        Pair("commit.before", 1, "commit.inside", 1, "stopped"),
        Pair("commit.inside", 1, "commit.after", 1, "stopped"),
    ),
    *pairs(
        CANCEL_AT_COMMIT,
        Pair("commit.inside", 1, "commit.inside", 1, "stopped"),
    ),
    *pairs(
        COMPOSITION,
        # Made of three by a process that died before it was stored, then by another one.
        Pair("commit.inside", 1, "commit.inside", 1, "three"),
        Pair("commit.after", 1, "claim.inside", 1, "three"),
        Pair("commit.after", 1, "record.inside", 2, "three", "b"),
        Pair("during.b", 1, "commit.inside", 1, "three", "b"),
        Pair("during.b", 1, "during.b", 1, "three", "b b"),
    ),
]


@pytest.mark.parametrize(("table", "left"), TABLES, ids=[table.scenario for table, _ in TABLES])
def test_undisturbed_it_passes_the_points_of_its_table(
    tmp_path: Path, table: Table, left: str
) -> None:
    check_undisturbed(tmp_path, table, left)


@pytest.mark.parametrize(("table", "point", "nth"), every_kill(table for table, _ in TABLES))
def test_what_a_kill_leaves_is_finished_as_the_table_says(
    tmp_path: Path, table: Table, point: Point, nth: int
) -> None:
    check_kill(tmp_path, table, point, nth)


@pytest.mark.parametrize(("table", "pair"), PAIRS)
def test_two_kills_in_a_row_converge(tmp_path: Path, table: Table, pair: Pair) -> None:
    check_pair(tmp_path, table, pair)


# --- what a checkpoint took, and a turn that is stopped then --------------------------------------------------

TAKEN_THEN_STOPPED = Table("cancel_once_taken", [], {})


def said_once(facts: dict[str, Any]) -> None:
    """What was brought into the turn is in the history once: in that turn, or in the next one."""
    history = facts["sessions"]["s"]["history"]
    assert history.count("user: also x") == 1, (history, facts["queue"])
    assert facts["findings"] == []


@pytest.mark.parametrize(("point", "nth"), [("record.before", 3), ("record.inside", 3)])
def test_input_taken_by_a_turn_that_is_stopped_before_it_was_recorded_is_not_lost(
    tmp_path: Path, point: str, nth: int
) -> None:
    scene = Scene(tmp_path, TAKEN_THEN_STOPPED)
    scene.killed("drive", point, nth)
    said_once(scene.finished("recover"))


def test_input_taken_and_recorded_by_a_turn_that_is_stopped_is_part_of_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path, TAKEN_THEN_STOPPED)
    scene.killed("drive", "record.after", 3)
    facts = scene.finished("recover")
    said_once(facts)
    assert facts["queue"] == [["k1", "completed", "t1"]]


def test_input_taken_by_a_turn_that_is_stopped_where_its_agent_is_not_is_not_lost(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path, INJECT_IN_TOOL)
    scene.killed("drive", "during.t1.heard", 1)
    scene.finished("stop")
    said_once(scene.finished("recover"))
