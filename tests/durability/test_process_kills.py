"""Durable processes with SIGKILL at every point they pass; the tables say what must be left.

`process_scene` has the rules that the tables were written by, `process_plays` what is played. The long
run kills at every point, the short one at those that are a scenario's own.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
from crash_matrix import Pair, Point, every_kill, pairs
from crash_scene import accepted, committed, looked, model, tool
from process_scene import (
    Left,
    PairBeside,
    Process,
    Table,
    check_kill,
    check_pair,
    check_undisturbed,
    completed,
    done,
    opened,
    recorded,
    registered,
    resumes,
    step,
    waits,
)

pytestmark = pytest.mark.slow


def whole(outcome: object, starts: str, **more: object) -> dict[str, Left | Sequence[Left]]:
    """One process that came to its end."""
    process = Process("completed", outcome, **more)  # type: ignore[arg-type]  # as given by name
    return {"whole": Left({"p": process}, starts.split())}


OPENED = opened()
BEGUN = registered()
A = [*BEGUN, *step("a")]

# --- steps ------------------------------------------------------------------------------------------------

STEPS = Table(
    "steps",
    [*A, *step("b"), *completed()],
    whole(["a done", "b done"], "a b"),
    OPENED,
)
#: What the first attempt came to decides about a second one; whoever makes it after a kill succeeds.
RETRIED = Table(
    "retried",
    [
        *BEGUN,
        Point("during.flaky", "whole"),
        *recorded(),
        *recorded(),  # how long it rests between the attempts
        *step("flaky"),
        *step("b"),
        *completed(),
    ],
    whole(["flaky done", "b done"], "flaky flaky b"),
    common=3,
)
FAILURE = Table(
    "failure",
    [*A, *completed()],
    {"whole": Left({"p": Process("failed", "process_failed: ValueError: no")}, ["a"])},
    common=len(A),
)
#: It is begun twice anyway; whoever begins it after a kill finds that it has rested.
REST = Table(
    "rest",
    [
        *A,
        Point("during.flaky", "whole"),
        *done("release", "whole"),
        *done("claim", "whole"),
        *step("flaky"),
        *completed(),
    ],
    whole(["a done", "flaky done"], "a flaky flaky"),
    common=len(A),
    begun=2,
)
#: The first who looks parks it; it is tried again by whoever opens a runtime then.
PARK = Table(
    "park",
    [
        *registered("parked"),
        *step("a", "parked"),
        Point("during.look", "whole"),
        *done("park", "whole"),
        *done("claim", "whole"),
        # From here on somebody looks once more when it is run again.
        Point("during.look", "whole", "look"),
        *step("b", also="look"),
        *[Point(f"process.complete.{place}", "whole", "look") for place in ("before", "inside")],
        Point("process.complete.after", "whole"),
    ],
    {
        **whole(["a done", "b done"], "a look look b"),
        "parked": Left(
            {"p": Process("waiting", None, parked="It was another one.")}, ["a", "look"]
        ),
    },
    common=len(A),
    begun=2,
)

# --- waits ------------------------------------------------------------------------------------------------

SLEEP = Table(
    "sleep",
    [*A, *recorded(), *step("b"), *completed()],
    whole(["a done", "b done"], "a b"),
    [*waits(), *resumes()],
    common=len(A),
)
SIGNAL = ['signal.go {"by": "ana"}']
SIGNALLED = whole(["a done", "ana", "b done"], "a b", events=SIGNAL)
SIGNAL_EARLY = Table(
    "signal_early",
    [*BEGUN, *done("append", "whole"), *step("a"), *recorded(), *step("b"), *completed()],
    SIGNALLED,
    common=3,
    sends=True,
)
SIGNAL_LATE = Table(
    "signal_late",
    [*A, *done("append", "whole"), *recorded(), *step("b"), *completed()],
    SIGNALLED,
    [*waits(), *resumes()],
    common=len(A),
    sends=True,
)
#: Another process says it; where it dies, the application says the same.
SIGNAL_FROM_ELSEWHERE = Table(
    "signal_from_elsewhere",
    [
        *A,
        *[
            Point(f"other.process.append.{place}", "whole")
            for place in ("before", "inside", "after")
        ],
        *recorded(),
        *step("b"),
        *completed(),
    ],
    SIGNALLED,
    [*waits(), *resumes()],
    common=len(A),
    sends=True,
)
SIGNAL_TIMEOUT = Table(
    "signal_timeout",
    # The deadline, then that nobody came.
    [*A, *recorded(), *recorded(), *step("late"), *completed()],
    whole(["a done", "nobody", "late done"], "a late"),
    [*waits(), *resumes()],
    common=len(A),
)
SIGNAL_IN_TIME = Table(
    "signal_in_time",
    [*A, *recorded(), *done("append", "whole"), *recorded(), *step("b"), *completed()],
    SIGNALLED,
    [*waits(), *resumes()],
    common=len(A),
    sends=True,
)
#: What is to stop is told so where it waits or begins the next thing. At its first step it has nothing to
#: tidy yet.
STOPPED = Process("cancelled", "enough", ['process.cancel_requested {"reason": "enough"}'])
CANCEL = Table(
    "cancel",
    # How long it sleeps, that it is to stop, and where it was told so.
    [
        *registered("not begun"),
        *step("a", "not begun")[:-1],
        Point("record.after", "whole"),
        *recorded(),
        *done("append", "whole"),
        *recorded(),
        *step("tidy"),
        *step("tell"),
        *completed(),
    ],
    {
        "not begun": Left({"p": STOPPED}, []),
        "whole": Left({"p": STOPPED}, ["a", "tidy", "tell"]),
    },
    [*waits(), *resumes()],
    common=len(A),
    sends=True,
    repeated={"not begun": "not begun"},
)
GIVEN_UP = Process("abandoned", "reconciled_request")
GIVE_UP = Table(
    "give_up",
    [
        *registered("not begun"),
        *step("a", "not begun")[:-1],
        Point("record.after", "whole"),
        *done("request_abandon", "whole"),
        *completed(),
    ],
    {"not begun": Left({"p": GIVEN_UP}, []), "whole": Left({"p": GIVEN_UP}, ["a"])},
    waits(),
    common=len(A),
    sends=True,
    repeated={"not begun": "not begun"},
)

# --- side by side ---------------------------------------------------------------------------------------------

CHILD = Table(
    "child",
    [
        *A,
        *done("register", "whole"),  # the child
        *recorded(),
        *done("claim", "whole"),
        *step("c"),
        *completed(),
        *recorded(),  # what it came to
        *step("b"),
        *completed(),
    ],
    {
        "whole": Left(
            {
                "p": Process("completed", ["a done", 42, "b done"]),
                "p/kid:1": Process("completed", 42),
            },
            ["a", "b", "c"],
        )
    },
    [*waits(), *resumes()],
    common=len(A),
)
GATHER = Table(
    "gather",
    [
        *BEGUN,
        Point("during.a1", "whole", "a1"),
        Point("during.b1", "whole", "a1 b1"),
        *recorded("a1", also="b1"),
        *recorded("b1"),
        *step("a2"),
        *step("b2"),
        *step("z"),
        *completed(),
    ],
    whole([["a1 done", "a2 done"], ["b1 done", "b2 done"], "z done"], "a1 a2 b1 b2 z"),
    common=3,
)
RACE = Table(
    "race",
    # The sleep; the quick branch; which came first.
    [*BEGUN, *recorded(), *step("a1"), *step("a2"), *recorded(), *step("z"), *completed()],
    whole([1, ["a1 done", "a2 done"], "z done"], "a1 a2 z"),
    common=3,
)
#: The second branch is first. What follows depends on that, so it is known before anything else is done;
#: before, whoever goes on finds the first branch at its end as well.
RACE_TIME = Table(
    "race_time",
    [
        *registered("either"),
        *recorded(left="either"),
        *step("a", "either"),
        *recorded(left="either")[:-1],
        Point("record.after", "whole"),
        *done("append", "whole"),
        *step("z"),
        *completed(),
    ],
    {
        **whole(1, "a z", events=["came 1"]),
        "either": [
            Left({"p": Process("completed", 1, ["came 1"])}, ["a", "z"]),
            Left({"p": Process("completed", 0, ["came 0"])}, ["a", "z"]),
        ],
    },
    common=3,
    sends=True,
    repeated={"nothing": "either", "either": "either"},
)

# --- telling --------------------------------------------------------------------------------------------------

EMIT = Table(
    "emit",
    [
        *BEGUN,
        *done("append", "whole"),
        *step("a"),
        *done("append", "whole"),
        *step("b"),
        *completed(),
    ],
    whole(["a done", "b done"], "a b", events=["progress 1", "progress 2"]),
    common=3,
)
CHANCE = Table(
    "chance",
    [
        *BEGUN,
        *recorded(),  # the first draw, before it is told in an event
        *done("append", "whole"),
        *recorded(),  # the second one, before a child is given it
        *done("register", "whole"),
        *recorded(),
        *done("claim", "whole"),
        *step("c"),
        *completed(),
        *recorded(),
        *recorded(),  # the third one, before a step is given it
        *step("charge"),
        *completed(),
    ],
    {
        "whole": Left(
            {
                "p": Process("completed", [True, True], ['drawn "uuid"']),
                "p/kid:1": Process("completed", "uuid"),
            },
            ["c", "charge"],
        )
    },
    [*waits(), *resumes()],
    common=3,
)
HELLO = ("t1", "Hello.")
SPOKEN = "user: t1 \n assistant: Hello."
TOLD = """
    user: t1
    assistant: Hello.
    event: tell that a is done
    assistant: So it is.
"""
SESSION = [
    *accepted("nothing", "session"),
    *model("t1.1", "session"),
    *looked("session"),
    *committed("session"),
]
WAKE = Table(
    "wake",
    [
        *SESSION,
        *done("register", "session", "whole"),
        *step("a"),
        *done("append", "whole"),
        Point("claim.inside", "whole"),
        *model("Runtime.1", "whole"),
        *looked("whole"),
        *committed("whole"),
        *step("b"),
        *completed(),
    ],
    {
        "session": Left({}, ["t1.1"], {"s": ([HELLO], SPOKEN)}),
        "whole": Left(
            {
                "p": Process(
                    "completed",
                    "b done",
                    ['process.wake {"text": "tell that a is done"}'],
                    ["delivered"],
                    observers=["s"],
                    tells="s",
                )
            },
            ["t1.1", "a", "Runtime.1", "b"],
            {"s": ([HELLO, ("wake:p:N:turn", "So it is.")], TOLD)},
            [("process:p:event:N:wake", "completed")],
        ),
    },
    # When the runtime opens; the wake; and whether there is another one.
    [
        *OPENED,
        Point("wakes.before", "whole"),
        Point("enqueue.inside", "whole"),
        Point("wakes.after", "whole"),
        Point("wakes.before", "whole"),
        Point("wakes.after", "whole"),
    ],
    common=len(SESSION),
)

# --- on and on ------------------------------------------------------------------------------------------------

TICKS = ["signal.tick 1", "signal.tick 2", "signal.tick 3"]
CONTINUE = Table(
    "continue",
    [
        *BEGUN,
        *done("append", "whole"),
        *done("append", "whole"),
        *done("append", "whole"),
        *step("a"),
        *recorded(),
        *step("s1"),
        *done("continue", "whole"),
        *recorded(),
        *step("s2"),
        *done("continue", "whole"),
        *recorded(),
        *step("s3"),
        *completed(),
    ],
    whole([1, 2, 3], "a s1 s2 s3", events=TICKS),
    common=6,
    sends=True,
)

# --- what is no Python process ------------------------------------------------------------------------------------

TOOL = Table(
    "tool",
    [*BEGUN, *tool("pay", "whole"), *completed()],
    whole("paid", "pay"),
    common=3,
)
TURN_VALUE = {
    "process_id": "p",
    "child_session_id": "p:session",
    "turn": {
        "turn_id": "p",
        "text": "Done.",
        "outcome": {
            "status": "finished",
            "result": {"type": "assistant_message", "text": "Done."},
        },
        "usage": {"input_tokens": 20, "output_tokens": 10},
    },
}
TURN = Table(
    "turn",
    [
        *BEGUN,
        *accepted("whole", "whole"),
        *model("t1.1", "whole"),
        *tool("a", "whole"),
        *looked("whole"),
        *model("t1.2", "whole"),
        *looked("whole"),
        *committed("whole"),
        *completed(),
    ],
    {
        "whole": Left(
            {"p": Process("completed", TURN_VALUE)},
            ["t1.1", "a", "t1.2"],
            {
                "p:session": (
                    [("p", "Done.")],
                    "user: t1 \n assistant: [a] \n user: <a: a done> \n assistant: Done.",
                )
            },
        )
    },
    waits(),
    common=3,
)


def elsewhere(status: str, outcome: object = None, **known: object) -> Left:
    return Left({"p": Process(status, outcome, **known)}, [])  # type: ignore[arg-type]  # as given by name


CI = {"reference": "ci:7"}
SHOWN = {**CI, "observers": ["s"]}
ELSEWHERE = Table(
    "elsewhere",
    [
        *registered("registered"),
        *done("external_ref", "registered", "referred"),
        *done("observers", "referred", "shown"),
        *done("retarget", "shown", "telling"),
        *done("complete_by_authority", "telling", "whole"),
    ],
    {
        "registered": elsewhere("running"),
        "referred": elsewhere("running", **CI),
        "shown": elsewhere("running", **SHOWN),
        "telling": elsewhere("running", **SHOWN, tells="s"),
        "whole": elsewhere("completed", "green", **SHOWN, tells="s"),
    },
    begun=0,
)

TABLES = [
    STEPS,
    RETRIED,
    FAILURE,
    REST,
    PARK,
    SLEEP,
    SIGNAL_EARLY,
    SIGNAL_LATE,
    SIGNAL_FROM_ELSEWHERE,
    SIGNAL_TIMEOUT,
    SIGNAL_IN_TIME,
    CANCEL,
    GIVE_UP,
    CHILD,
    GATHER,
    RACE,
    RACE_TIME,
    EMIT,
    CHANCE,
    WAKE,
    CONTINUE,
    TOOL,
    TURN,
    ELSEWHERE,
]


@pytest.mark.parametrize("table", TABLES, ids=[table.scenario for table in TABLES])
def test_undisturbed_process_passes_the_points_of_its_table(tmp_path: Path, table: Table) -> None:
    check_undisturbed(tmp_path, table)


@pytest.mark.parametrize(("table", "point", "nth"), every_kill(TABLES))
def test_killed_process_goes_on_by_itself_and_repeats_nothing_recorded(
    tmp_path: Path, table: Table, point: Point, nth: int
) -> None:
    check_kill(tmp_path, table, point, nth)


#: Kills of the first process, then of the one that goes on; a third finishes.
PAIRS = [
    *pairs(
        STEPS,
        Pair("process.register.after", 1, "process.claim.inside", 1, "whole"),
        Pair("process.register.after", 1, "process.claim.after", 1, "whole"),
        Pair("during.a", 1, "during.a", 1, "whole", "a a"),
        Pair("record.inside", 1, "record.inside", 1, "whole", "a a"),
        Pair("record.after", 1, "process.complete.inside", 1, "whole"),
        Pair("process.complete.before", 1, "process.complete.before", 1, "whole"),
    ),
    *pairs(
        SIGNAL_LATE,
        Pair("process.wait.after", 1, "record.before", 1, "whole"),
        Pair("process.append.after", 1, "record.after", 1, "whole"),
        Pair("record.after", 2, "record.inside", 1, "whole", "b"),
    ),
    *pairs(
        CANCEL,
        Pair("process.append.after", 1, "during.tidy", 1, "whole", "tidy"),
        Pair("during.tidy", 1, "record.inside", 1, "whole", "tidy tidy"),
        Pair("record.after", 4, "process.complete.inside", 1, "whole"),
    ),
    *pairs(
        CHILD,
        Pair("process.register.after", 2, "process.register.after", 1, "whole"),
        Pair("during.c", 1, "during.c", 1, "whole", "c c"),
        Pair("process.complete.after", 1, "record.before", 1, "whole"),
    ),
    *pairs(EMIT, Pair("process.append.after", 2, "record.before", 1, "whole", "b")),
    *pairs(
        CHANCE,
        Pair("process.append.after", 1, "process.register.after", 1, "whole"),
        Pair("during.charge", 1, "during.charge", 1, "whole", "charge charge"),
    ),
    *pairs(
        WAKE,
        PairBeside("process.append.after", 1, "enqueue.inside", 1, "whole", perhaps="b"),
        PairBeside("enqueue.inside", 1, "claim.inside", 1, "whole", perhaps="b"),
        PairBeside("during.Runtime.1", 1, "commit.inside", 1, "whole", "Runtime.1", "b"),
    ),
    *pairs(
        CONTINUE,
        Pair("process.continue.before", 1, "process.continue.inside", 1, "whole"),
        Pair("process.continue.after", 1, "process.continue.after", 1, "whole"),
        Pair("process.continue.after", 2, "record.inside", 1, "whole"),
    ),
    *pairs(TURN, Pair("during.a", 1, "process.complete.inside", 1, "whole", "a")),
]


@pytest.mark.parametrize(("table", "pair"), PAIRS)
def test_two_crashes_in_a_row_converge(tmp_path: Path, table: Table, pair: Pair) -> None:
    check_pair(tmp_path, table, pair)
