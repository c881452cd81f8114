"""What is done to sessions and between them, with SIGKILL at every point it passes.

Forks, compactions, deletions, child sessions, agent frames, parked tools, structured answers. The
tables were written by hand, as in `test_crash_inputs`.
"""

from pathlib import Path

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
    recorded,
    tool,
)

pytestmark = pytest.mark.slow

DONE = ("t1", "Done.", "a:success", 2)
DONE_HISTORY = """
    user: t1
    assistant: [a]
    user: <a: a done>
    assistant: Done.
"""
ONE = Left({"s": Session([DONE], DONE_HISTORY)}, "t1.1 a t1.2")
#: A turn of one tool, as others begin with.
BEGUN = [
    *accepted("nothing", "one"),
    *model("t1.1", "one"),
    *tool("a", "one"),
    *looked("one"),
    *model("t1.2", "one"),
    *looked("one"),
    *committed("one"),
]

# --- forks and deletions --------------------------------------------------------------------------------------

FORK_TURN = ("t2", "Fork.", "", 1)
FORK_HISTORY = f"{DONE_HISTORY} user: t2 \n assistant: Fork."
SOURCE = Session([DONE], DONE_HISTORY)
FORKED = Left({"s": SOURCE, "f": Session([], DONE_HISTORY)}, ONE.starts)
GONE_ON = Left({"s": SOURCE, "f": Session([FORK_TURN], FORK_HISTORY)}, f"{ONE.starts} t2.1")
BOTH = Left(
    {
        "s": Session(
            [DONE, ("t3", "Source.", "", 1)],
            f"{DONE_HISTORY} user: t3 \n assistant: Source.",
        ),
        "f": Session([FORK_TURN], FORK_HISTORY),
    },
    f"{ONE.starts} t2.1 t3.1",
)
FORK = Table(
    "fork",
    [
        *BEGUN,
        Point("fork.inside", "one"),
        *accepted("forked", "gone on"),
        *model("t2.1", "gone on"),
        *looked("gone on"),
        *committed("gone on"),
        *accepted("gone on", "both"),
        *model("t3.1", "both"),
        *looked("both"),
        *committed("both"),
    ],
    {"one": ONE, "forked": FORKED, "gone on": GONE_ON, "both": BOTH},
    common=len(BEGUN),
)
DELETED = Left({"f": Session([], DONE_HISTORY)}, ONE.starts)
ALONE = Left({"f": Session([FORK_TURN], FORK_HISTORY)}, f"{ONE.starts} t2.1")
DELETION = Table(
    "deletion",
    [
        *BEGUN,
        Point("fork.inside", "one"),
        # Until the transaction is through, all of the session is there.
        Point("delete.inside", "forked"),
        Point("application", "deleted"),
        *accepted("deleted", "alone"),
        *model("t2.1", "alone"),
        *looked("alone"),
        *committed("alone"),
    ],
    {"one": ONE, "forked": FORKED, "deleted": DELETED, "alone": ALONE},
    common=len(BEGUN) + 1,
)

# --- compaction -----------------------------------------------------------------------------------------------

COMPACTED_TURN = ("command-p1-1:turn", "All of a.", "", 1)
COMPACTED_HISTORY = f"{DONE_HISTORY} system: What was said before, summarised: All of a."
COMMANDED = [("session_command", "completed", "command-p1-1:turn")]
COMPACTED = Left(
    {"s": Session([DONE, COMPACTED_TURN], COMPACTED_HISTORY)},
    f"{ONE.starts} Summarise.1",
    COMMANDED,
)
MORE = Left(
    {
        "s": Session(
            [DONE, COMPACTED_TURN, ("t2", "More.", "", 1)],
            f"{COMPACTED_HISTORY} \n user: t2 \n assistant: More.",
        )
    },
    f"{ONE.starts} Summarise.1 t2.1",
    COMMANDED,
)
COMPACTION = Table(
    "compaction",
    [
        *BEGUN,
        Point("enqueue.inside", "one"),
        Point("claim.inside", "compacted"),
        *model("Summarise.1", "compacted"),
        *committed("compacted"),
        *accepted("compacted", "more"),
        *model("t2.1", "more"),
        *looked("more"),
        *committed("more"),
    ],
    {"one": ONE, "compacted": COMPACTED, "more": MORE},
    common=len(BEGUN),
)

# --- child sessions -------------------------------------------------------------------------------------------

CHILD = Left(
    {
        "s": Session(
            [("t1", "Done.", "delegate:success", 2)],
            """
            user: t1
            assistant: [delegate]
            user: <delegate: It says: Child.>
            assistant: Done.
            """,
        ),
        "s:child:child": Session(
            [("s:child:child:1", "Child.", "b:success", 2)],
            """
            user: c1
            assistant: [b]
            user: <b: b done>
            assistant: Child.
            """,
        ),
    },
    "t1.1 delegate c1.1 b c1.2 t1.2",
)
#: The tool that began the child has no record until the child is done, so it is started once more
#: whenever the process dies meanwhile; it finds the child's turn where that is.
CHILDREN = Table(
    "child",
    [
        *accepted("nothing", "whole"),
        *model("t1.1", "whole"),
        Point("tool.before", "whole"),
        Point("during.delegate", "whole", "delegate"),
        *accepted("whole", "whole", "delegate"),
        *model("c1.1", "whole", also="delegate"),
        *tool("b", "whole", also="delegate"),
        *looked("whole", "delegate"),
        *model("c1.2", "whole", also="delegate"),
        *looked("whole", "delegate"),
        *committed("whole", also="delegate"),
        Point("tool.after", "whole", "delegate"),
        *recorded("delegate", "whole"),
        *looked("whole"),
        *model("t1.2", "whole"),
        *looked("whole"),
        *committed("whole"),
    ],
    {"whole": CHILD},
    common=10,
    repeated={"nothing": "whole", "whole": "whole"},
)

# --- agent frames ---------------------------------------------------------------------------------------------

FRAMES = Left(
    {
        "s": Session(
            [
                ("t1", "t2 in f1", "hop:success", 1),
                ("t1:agent-frame:1", "t3 in f2", "hop:success", 1),
                ("t1:agent-frame:2", "Arrived.", "a:success", 2),
            ],
            """
            user: t1
            assistant: [hop]
            user: <hop: The task goes on in frame f1.>
            user: t2
            assistant: [hop]
            user: <hop: The task goes on in frame f2.>
            user: t3
            assistant: [a]
            user: <a: a done>
            assistant: Arrived.
            """,
        )
    },
    "t1.1 hop-f1 t2.1 hop-f2 t3.1 a t3.2",
)
#: What a commit hands on is accepted with it, so nobody has to be asked again.
CHAIN = Table(
    "frames",
    [
        *accepted("nothing", "arrived"),
        *model("t1.1", "arrived"),
        *tool("hop-f1", "arrived"),
        *committed("arrived"),
        *model("t2.1", "arrived"),
        *tool("hop-f2", "arrived"),
        *committed("arrived"),
        *model("t3.1", "arrived"),
        *tool("a", "arrived"),
        *looked("arrived"),
        *model("t3.2", "arrived"),
        *looked("arrived"),
        *committed("arrived"),
    ],
    {"arrived": FRAMES},
    common=9,
    repeated={"nothing": "arrived", "arrived": "arrived"},
)

# --- structured answers ---------------------------------------------------------------------------------------

STRUCTURED = Left(
    {
        "s": Session(
            [("t1", '{"n":1}', "a:success", 3)],
            """
            user: t1
            assistant: [a]
            user: <a: a done>
            assistant: one
            user: That answer cannot be used: it is not JSON (JSON is malformed: invalid character (byte 0)). Answer again with one JSON object and nothing else: no prose, no code fence.
            assistant: {"n":1}
            """,
        )
    },
    "t1.1 a t1.2 t1.3",
)
CORRECTED = Table(
    "structured",
    [
        *accepted("nothing", "corrected"),
        *model("t1.1", "corrected"),
        *tool("a", "corrected"),
        *looked("corrected"),
        *model("t1.2", "corrected"),
        *model("t1.3", "corrected"),
        *looked("corrected"),
        *committed("corrected"),
    ],
    {"corrected": STRUCTURED},
    common=16,
    repeated={"nothing": "corrected", "corrected": "corrected"},
)

# --- a tool that waits for the outside ------------------------------------------------------------------------

WAITING = Left({"s": Session([], "", state="running")}, "t1.1 ask")
TOLD = Left(
    {
        "s": Session(
            [("t1", "Told.", "ask:success", 2)],
            """
            user: t1
            assistant: [ask]
            user: <ask: yes>
            assistant: Told.
            """,
        )
    },
    "t1.1 ask t1.2",
)
PARKED = Table(
    "parked",
    [
        *accepted("nothing", "waiting"),
        *model("t1.1", "waiting"),
        *tool("ask", "waiting"),
        # The other process has answered as soon as the tool's record stood.
        *recorded("", "told"),
        *looked("told"),
        *model("t1.2", "told"),
        *looked("told"),
        *committed("told"),
    ],
    {"waiting": WAITING, "told": TOLD},
)

TABLES = [
    (FORK, "both"),
    (DELETION, "alone"),
    (COMPACTION, "more"),
    (CHILDREN, "whole"),
    (CHAIN, "arrived"),
    (CORRECTED, "corrected"),
    (PARKED, "told"),
]
PAIRS = [
    *pairs(
        FORK,
        Pair("accept.after", 2, "record.inside", 1, "gone on", "t2.1"),
        Pair("commit.inside", 2, "commit.after", 1, "gone on"),
    ),
    *pairs(
        COMPACTION,
        Pair("claim.inside", 1, "claim.inside", 1, "compacted"),
        Pair("during.Summarise.1", 1, "record.inside", 1, "compacted", "Summarise.1 Summarise.1"),
        Pair("commit.inside", 2, "commit.inside", 1, "compacted"),
        Pair("record.after", 4, "commit.inside", 1, "compacted"),
    ),
    *pairs(
        CHILDREN,
        # Parent and child are both picked up; the child's tool had begun, and begins once more.
        Pair("during.b", 1, "during.b", 1, "whole", "delegate delegate b b"),
        Pair("commit.inside", 1, "commit.inside", 1, "whole", "delegate delegate"),
        Pair("commit.after", 1, "record.inside", 1, "whole", "delegate delegate"),
        Pair("record.inside", 5, "commit.inside", 1, "whole", "delegate"),
        Pair("record.after", 5, "record.inside", 1, "whole", "t1.2"),
    ),
    *pairs(
        CHAIN,
        Pair("commit.inside", 1, "commit.inside", 1, "arrived"),
        Pair("commit.inside", 1, "commit.inside", 2, "arrived"),
        Pair("commit.after", 1, "commit.after", 1, "arrived"),
        Pair("commit.after", 2, "during.a", 1, "arrived", "a"),
    ),
    *pairs(
        CORRECTED,
        Pair("record.after", 3, "during.t1.3", 1, "corrected", "t1.3"),
        Pair("commit.before", 1, "commit.inside", 1, "corrected"),
    ),
    *pairs(
        PARKED,
        Pair("record.inside", 3, "record.inside", 1, "told"),
        Pair("record.after", 3, "record.inside", 1, "told", "t1.2"),
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
    if point.left == "waiting":
        check_waits_and_is_answered(tmp_path, table, point, nth)
    else:
        check_kill(tmp_path, table, point, nth)


def check_waits_and_is_answered(folder: Path, table: Table, point: Point, nth: int) -> None:
    """Nobody had answered yet: the next process waits, and a third answers for a fourth."""
    scene = Scene(folder, table)
    scene.killed("drive", point.name, nth)
    scene.left(scene.finished("recover"), "waiting", point.again)
    scene.finished("resolve")
    scene.left(scene.finished("recover"), "told", point.again)


@pytest.mark.parametrize(("table", "pair"), PAIRS)
def test_two_kills_in_a_row_converge(tmp_path: Path, table: Table, pair: Pair) -> None:
    check_pair(tmp_path, table, pair)


def test_a_session_with_open_work_is_deleted_whole_or_not_at_all(tmp_path: Path) -> None:
    scene = Scene(tmp_path, PARKED)
    scene.killed("drive", "record.after", 2)
    scene.killed("delete", "delete.inside", 1)
    scene.left(scene.finished("recover"), "waiting")
    scene.finished("delete")
    gone = scene.finished("recover")
    assert gone["sessions"] == {}
    assert gone["findings"] == []
    assert gone["leases"] == []
    assert scene.starts() == {"t1.1": 1, "ask": 1}


# --- a lease that nobody needs --------------------------------------------------------------------------------

CLAIMED = Table("claimed_for_nothing", [], {"one": ONE})


def test_a_lease_taken_for_nothing_does_not_outlive_its_owner(tmp_path: Path) -> None:
    scene = Scene(tmp_path, CLAIMED)
    scene.killed("drive", "application", 1)
    facts = scene.finished("recover")
    assert facts["leases"] == []
