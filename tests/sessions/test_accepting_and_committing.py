"""What may happen to a session, as pure decisions: the order of the checks, and what is planned."""

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.core.leases import Lease, LeaseState
from lash.llm.usage import Usage
from lash.sessions.accepting import (
    Accepted,
    AcceptFacts,
    AcceptRequest,
    AcceptResult,
    AgentMismatch,
    AlreadyAccepted,
    InputConflict,
    KnownTurn,
    OpenSession,
    SessionBlocked,
    SessionBusy,
    plan_accept,
)
from lash.sessions.committing import (
    CommitFacts,
    CommitPlan,
    CommitReceipt,
    CommitRefused,
    TurnCommit,
    chain_nodes,
    commit_hash,
    plan_commit,
)
from lash.sessions.model import (
    AcceptedTurn,
    AgentRef,
    Parked,
    SessionHead,
    SessionNode,
    TurnRecord,
    TurnTiming,
)
from lash.sessions.summary import session_state
from lash.testing.conformance.samples import (
    ANA,
    BEN,
    SUPPORT,
    record,
    request,
    said,
    turn_commit,
)
from lash.turn.messages import text_message
from lash.turn.outcome import Cancelled, Stopped

NOW = 1_000
HEAD = SessionHead(session_id="s", agent=SUPPORT, created_at_ms=5)


def leased(owner: str = "ana", expires: int = NOW + 1) -> LeaseState:
    held = Lease(
        owner=ANA if owner == "ana" else BEN,
        nonce="n",
        fencing_token=3,
        claimed_at_ms=0,
        expires_at_ms=expires,
    )
    return LeaseState(fencing_token=3, held=held)


def accepted_turn(turn_id: str = "t1", parked: Parked | None = None) -> AcceptedTurn:
    return AcceptedTurn(
        session_id="s",
        turn_id=turn_id,
        sequence=1,
        agent=SUPPORT,
        input=said("hello"),
        accepted_at_ms=7,
        parked=parked,
    )


# --- accepting ------------------------------------------------------------------------------------------

KNOWN = KnownTurn(turn_id="t1", input=said("hello"), open=accepted_turn())
BLOCKING = accepted_turn("t0", Parked(code="agent_missing", message="none here"))
SALES = AgentRef(name="sales")


@pytest.mark.parametrize(
    ("facts", "asked", "expected"),
    [
        # What was accepted before outranks everything, whoever holds the session.
        (
            AcceptFacts(
                now_ms=NOW,
                lease=leased("ben"),
                next_sequence=2,
                head=HEAD,
                known=KNOWN,
                open_turns=(BLOCKING,),
            ),
            request("t1", agent=SALES),
            AlreadyAccepted(known=KNOWN),
        ),
        (
            AcceptFacts(now_ms=NOW, lease=leased("ben"), next_sequence=2, head=HEAD, known=KNOWN),
            request("t1", "other", agent=SALES),
            InputConflict(turn_id="t1", by="turn_id"),
        ),
        (
            AcceptFacts(
                now_ms=NOW,
                lease=leased(),
                next_sequence=2,
                head=HEAD,
                known=msgspec.structs.replace(KNOWN, by_source=True),
            ),
            request("t9", "other", source_key="k"),
            InputConflict(turn_id="t1", by="source_key"),
        ),
        # The wrong agent is told before a parked turn or a holder is.
        (
            AcceptFacts(
                now_ms=NOW,
                lease=leased("ben"),
                next_sequence=2,
                head=HEAD,
                open_turns=(BLOCKING,),
            ),
            request("t9", agent=SALES),
            AgentMismatch(agent=SUPPORT),
        ),
        # A parked turn is told before a holder is.
        (
            AcceptFacts(
                now_ms=NOW,
                lease=leased("ben"),
                next_sequence=2,
                head=HEAD,
                open_turns=(BLOCKING,),
            ),
            request("t9"),
            SessionBlocked(turn=BLOCKING),
        ),
    ],
)
def test_the_first_reason_not_to_accept_is_told(
    facts: AcceptFacts, asked: AcceptRequest, expected: AcceptResult
) -> None:
    assert plan_accept(facts, asked) == expected


def test_a_live_holder_is_told() -> None:
    facts = AcceptFacts(now_ms=NOW, lease=leased("ben"), next_sequence=2, head=HEAD)
    held = leased("ben").held
    assert held is not None
    assert plan_accept(facts, request("t9")) == SessionBusy(holder=held)


def test_only_the_first_open_turn_blocks() -> None:
    facts = AcceptFacts(
        now_ms=NOW,
        lease=LeaseState(),
        next_sequence=3,
        head=HEAD,
        open_turns=(accepted_turn("t0"), BLOCKING),
    )
    planned = plan_accept(facts, request("t9"))
    assert isinstance(planned, Accepted)
    assert [turn.turn_id for turn in planned.ahead] == ["t0", "t0"]


def test_accepting_plans_the_turn_the_head_and_the_lease() -> None:
    facts = AcceptFacts(now_ms=NOW, lease=LeaseState(fencing_token=3), next_sequence=1)

    planned = plan_accept(facts, request("t9", "hello", source_key="k"))

    assert planned == Accepted(
        turn=AcceptedTurn(
            session_id="s",
            turn_id="t9",
            sequence=1,
            agent=SUPPORT,
            input=said("hello"),
            accepted_at_ms=NOW,
            source_key="k",
        ),
        head=SessionHead(session_id="s", agent=SUPPORT, created_at_ms=NOW),
        lease=Lease(
            owner=ANA,
            nonce="nonce-of-ana-1",
            fencing_token=4,
            claimed_at_ms=NOW,
            expires_at_ms=NOW + 30_000,
        ),
        new_session=True,
    )


# --- committing -----------------------------------------------------------------------------------------

FENCE = leased().held.fence  # type: ignore[union-attr]  # held by construction
COMMIT = turn_commit("t1", FENCE, revision=0)
RECEIPT = TurnRecord(
    session_id="s",
    turn_id="t1",
    revision=1,
    outcome=COMMIT.outcome,
    usage=COMMIT.usage,
    text="hi",
    tool_calls=(),
    llm_calls=(),
    issues=(),
    timing=TurnTiming(accepted_at_ms=7, committed_at_ms=9, drive_ms=0),
)
SOUND = CommitFacts(
    now_ms=NOW,
    lease=leased(),
    head=HEAD,
    turn=accepted_turn(),
    receipt=None,
    receipt_hash=None,
    existing_nodes=frozenset(),
    other_open_turns=0,
)
#: Every reason to refuse at once; each test below takes reasons away from the front.
HOPELESS = msgspec.structs.replace(
    SOUND,
    lease=LeaseState(fencing_token=4),
    head=msgspec.structs.replace(HEAD, revision=9),
    turn=None,
    existing_nodes=frozenset({"t1.m0"}),
    recorded_keys=frozenset({"r1"}),
)
LADEN = msgspec.structs.replace(COMMIT, journal=(record("r1"),))


@pytest.mark.parametrize(
    ("facts", "code", "words"),
    [
        (
            msgspec.structs.replace(HOPELESS, deleted=True),
            "session_deleted",
            "its id is not used again",
        ),
        (HOPELESS, "session_execution_lease_lost", "lease went to another owner"),
        (
            msgspec.structs.replace(HOPELESS, lease=leased()),
            "turn_commit_conflict",
            "never accepted",
        ),
        (
            msgspec.structs.replace(HOPELESS, lease=leased(), turn=accepted_turn()),
            "head_revision_conflict",
            "at revision 9, not 0",
        ),
        (
            msgspec.structs.replace(HOPELESS, lease=leased(), turn=accepted_turn(), head=HEAD),
            "turn_commit_conflict",
            "message t1.m0 is in the session already",
        ),
        (
            msgspec.structs.replace(SOUND, recorded_keys=frozenset({"r1"})),
            "turn_commit_conflict",
            "its journal holds r1 already",
        ),
    ],
)
def test_the_first_reason_not_to_commit_is_told(facts: CommitFacts, code: str, words: str) -> None:
    refused = plan_commit(facts, LADEN)

    assert isinstance(refused, CommitRefused)
    assert refused.code == code
    assert words in refused.message
    assert refused.message.startswith("The turn was not committed: ")


def test_the_receipt_outranks_every_reason_not_to_commit() -> None:
    facts = msgspec.structs.replace(HOPELESS, receipt=RECEIPT, receipt_hash=commit_hash(COMMIT))

    assert plan_commit(facts, LADEN) == CommitReceipt(
        record=RECEIPT,
        head=msgspec.structs.replace(HEAD, revision=9),
        lease_kept=False,
        replayed=True,
    )


def test_other_content_under_a_receipt_conflicts_before_anything_else() -> None:
    facts = msgspec.structs.replace(HOPELESS, receipt=RECEIPT, receipt_hash="another")

    refused = plan_commit(facts, LADEN)

    assert isinstance(refused, CommitRefused)
    assert refused.code == "turn_commit_conflict"
    assert "turn t1 was committed before with other content" in refused.message


def test_an_expired_lease_that_nobody_took_commits() -> None:
    facts = msgspec.structs.replace(SOUND, lease=leased(expires=NOW - 500))
    assert isinstance(plan_commit(facts, COMMIT), CommitPlan)


def test_a_commit_plans_everything_at_once() -> None:
    head = msgspec.structs.replace(
        HEAD,
        revision=4,
        turn_index=3,
        leaf_id="old",
        leaf_digest="d-old",
        usage=Usage(input_tokens=1, output_tokens=1),
    )
    newer = AgentRef(name="support", version="2")
    turn = msgspec.structs.replace(accepted_turn(), agent=newer)
    commit = turn_commit("t1", FENCE, revision=4)

    plan = plan_commit(msgspec.structs.replace(SOUND, head=head, turn=turn), commit)

    assert isinstance(plan, CommitPlan)
    assert [(node.node_id, node.parent_id) for node in plan.nodes] == [
        ("t1.m0", "old"),
        ("t1.m1", "t1.m0"),
    ]
    assert plan.head == SessionHead(
        session_id="s",
        agent=newer,
        created_at_ms=5,
        revision=5,
        leaf_id="t1.m1",
        leaf_digest=plan.nodes[-1].digest,
        turn_index=4,
        usage=Usage(input_tokens=11, output_tokens=4),
    )
    assert plan.record.revision == 5
    assert plan.record.timing == TurnTiming(accepted_at_ms=7, committed_at_ms=NOW, drive_ms=0)
    assert plan.commit_hash == commit_hash(commit)


# --- what makes two commits the same ------------------------------------------------------------------------


def test_the_hash_of_a_commit_is_compatibility_data() -> None:
    """Receipts of earlier releases are compared with these very bytes."""
    messages = (
        '{"id":"t1.m0","parts":[{"content":"hello","id":"t1.m0.p0","kind":"text"}],"role":"user"},'
        '{"id":"t1.m1","parts":[{"content":"hi","id":"t1.m1.p0","kind":"text"}],"role":"assistant"}'
    )
    outcome = '{"result":{"text":"hi","type":"assistant_message"},"status":"finished"}'
    usage = '{"input_tokens":10,"output_tokens":3}'
    content = f'["s","t1",0,[{messages}],{outcome},{usage}]'
    hashed = hashlib.sha256(b"turn-commit:v1\0" + content.encode()).hexdigest()
    assert commit_hash(COMMIT) == f"turn-commit:v1:sha256:{hashed}"


@pytest.mark.parametrize(
    "same",
    [
        msgspec.structs.replace(COMMIT, fence=leased("ben").held.fence),  # type: ignore[union-attr]  # held by construction
        msgspec.structs.replace(COMMIT, drive_ms=99),
        msgspec.structs.replace(COMMIT, journal=(record("r1"),)),
    ],
)
def test_neither_writer_nor_timing_makes_another_commit(same: TurnCommit) -> None:
    assert commit_hash(same) == commit_hash(COMMIT)


@pytest.mark.parametrize(
    "other",
    [
        msgspec.structs.replace(COMMIT, session_id="other"),
        msgspec.structs.replace(COMMIT, turn_id="t2"),
        msgspec.structs.replace(COMMIT, expected_revision=1),
        msgspec.structs.replace(COMMIT, messages=COMMIT.messages[:1]),
        msgspec.structs.replace(COMMIT, outcome=Stopped(reason=Cancelled())),
        msgspec.structs.replace(COMMIT, usage=Usage()),
    ],
)
def test_other_content_makes_another_commit(other: TurnCommit) -> None:
    assert commit_hash(other) != commit_hash(COMMIT)


# --- the graph ------------------------------------------------------------------------------------------------

_turns = st.lists(st.lists(st.text(max_size=3), max_size=4), max_size=5)


def grow(turns: list[list[str]]) -> tuple[SessionHead, dict[str, SessionNode]]:
    """A graph grown commit by commit."""
    head, nodes = HEAD, dict[str, SessionNode]()
    for number, texts in enumerate(turns):
        messages = [
            text_message(f"t{number}.m{place}", "user", text) for place, text in enumerate(texts)
        ]
        added = chain_nodes(
            head, msgspec.structs.replace(COMMIT, turn_id=f"t{number}", messages=tuple(messages))
        )
        nodes.update((node.node_id, node) for node in added)
        if added:
            head = msgspec.structs.replace(
                head, leaf_id=added[-1].node_id, leaf_digest=added[-1].digest
            )
    return head, nodes


def path_of(head: SessionHead, nodes: dict[str, SessionNode]) -> list[SessionNode]:
    """The nodes from the root to the leaf, by parent links."""
    path, at = list[SessionNode](), head.leaf_id
    while at is not None:
        path.insert(0, nodes[at])
        at = nodes[at].parent_id
    return path


@given(_turns)
def test_the_path_is_every_message_in_the_order_of_arrival(turns: list[list[str]]) -> None:
    head, nodes = grow(turns)

    expected = [f"t{n}.m{m}" for n, texts in enumerate(turns) for m in range(len(texts))]
    assert [node.node_id for node in path_of(head, nodes)] == expected


@given(_turns, _turns)
def test_a_leaf_names_its_whole_history_by_content(
    one: list[list[str]], other: list[list[str]]
) -> None:
    first, first_nodes = grow(one)
    second, second_nodes = grow(other)

    same = [node.message for node in path_of(first, first_nodes)] == [
        node.message for node in path_of(second, second_nodes)
    ]
    assert (first.leaf_digest == second.leaf_digest) == same


# --- states -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("running", "open_turns", "parked", "state"),
    [
        (True, 0, None, "running"),
        (True, 2, BLOCKING.parked, "running"),
        (False, 0, None, "idle"),
        (False, 1, None, "waiting"),
        (False, 1, BLOCKING.parked, "parked"),
    ],
)
def test_the_state_of_a_session(
    running: bool, open_turns: int, parked: Parked | None, state: str
) -> None:
    assert session_state(running=running, open_turns=open_turns, parked=parked) == state


def test_an_open_session_is_parked_when_its_first_turn_is() -> None:
    def open_session(*turns: AcceptedTurn) -> OpenSession:
        return OpenSession(session_id="s", turns=turns, lease=LeaseState())

    assert open_session(BLOCKING, accepted_turn()).parked == BLOCKING.parked
    assert open_session(accepted_turn(), BLOCKING).parked is None
    assert open_session().parked is None
