"""The conformance suites find what is wrong: each fault, by the property that it breaks."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lash.effects.commands import command_kind
from lash.testing.conformance.hosts.asking import EVERY_OUTCOME, PROCESS_COMMANDS, TRIGGER_COMMANDS

pytestmark = pytest.mark.slow

PLACES = [Path(__file__).with_name(f"broken_{what}.py") for what in ("places", "facets")]
#: What each class of these must fail.
FAULTS = {
    "TestRestless": "test_waiting_again_does_not_start_the_clock_again",
    "TestEager": "test_finished_operations_go_and_those_under_way_stay",
    "TestUnmoved": "test_a_write_moves_the_change_token_and_reading_does_not",
    "TestUnasked": "test_nothing_is_noted_while_somebody_drives",
    "TestLenient": "test_only_the_holder_restarts_a_turn",
    "TestTrusting": "test_who_lost_the_lease_ends_nothing_and_writes_nothing",
    "TestRepeating": "test_the_same_event_under_its_key_is_appended_once",
    "TestObliging": "test_any_other_field_is_a_conflict_that_names_it",
    "TestHasty": "test_a_handover_of_what_the_session_does_not_see_moves_nothing",
    "TestGreedy": "test_what_has_wakes_on_their_way_stays_until_they_arrive",
    "TestSkipping": "test_the_feed_goes_on_behind_a_cursor_page_by_page",
    "TestForgetful": "test_a_step_is_recorded_whether_it_succeeds_or_fails",
    "TestGullible": "test_forged_revoked_and_foreign_keys_are_refused_in_the_same_words",
    "TestUnfenced": "test_a_writer_that_was_fenced_out_records_nothing",
    "TestImpatient": "test_a_resolution_that_is_there_beats_a_cancel_and_a_deadline",
    "TestAgreeable": "test_a_turns_end_and_its_cancel_never_disagree",
    "TestStrangers": "test_all_of_them_mint_the_same_key_to_the_byte",
    "TestRehearing": "test_the_same_occurrence_again_matches_nothing_new",
    "TestTorn": "test_of_many_who_tell_of_an_occurrence_at_once_one_writes_it",
    "TestUnrepeatable": "test_a_receipt_outlives_later_revisions",
    "TestUndying": "test_a_revived_subscription_is_another_incarnation",
    "TestBurying": "test_a_deleted_subscription_leaves_a_tombstone_that_fences_its_key",
    "TestResettling": "test_a_failure_is_kept_until_the_delivery_starts",
    "TestFollowing": "test_what_is_reserved_is_what_stood_when_it_was",
    "TestTidy": "test_a_declared_set_is_one_write_that_tells_what_became_of_each",
    "TestUnannounced": "test_gc_spares_fresh_in_flight_intents_as_refs",
    "TestPublic": "test_a_reference_is_its_sessions_alone",
    "TestAdding": "test_committing_never_adds_a_reference_and_then_changes_nothing",
    "TestForgetfulOfOthers": "test_forgetting_drops_a_session_s_references_and_no_others",
    "TestRacing": "test_of_dropping_and_committing_at_once_nothing_is_lost",
    "TestRuthless": "test_a_turn_that_is_open_keeps_what_it_put_however_long_it_takes",
    "TestStubborn": "test_a_writer_takes_a_condemnation_away",
    "TestBlind": "test_what_somebody_refers_to_cannot_be_condemned",
}


@pytest.fixture(scope="module")
def found() -> dict[str, set[str]]:
    """What the suites find, by class."""
    wanted = [
        f"{path}::{place}::{test}"
        for path in PLACES
        for place, test in FAULTS.items()
        if f"class {place}(" in path.read_text()
    ]
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            *wanted,
        ],
        cwd=PLACES[0].parent,
        capture_output=True,
        text=True,
        check=False,
    )
    failed: dict[str, set[str]] = {}
    for place, test in re.findall(r"^FAILED \S+::(\w+)::(\w+)", run.stdout, re.MULTILINE):
        failed.setdefault(place, set()).add(test)
    assert "ERROR" not in run.stdout, run.stdout
    assert " passed" not in run.stdout, run.stdout
    return failed


@pytest.mark.parametrize("place", FAULTS)
def test_each_fault_is_found(place: str, found: dict[str, set[str]]) -> None:
    assert found.get(place) == {FAULTS[place]}


def test_every_kind_of_atom_is_replayed_by_the_suite() -> None:
    asked = [*EVERY_OUTCOME.values(), *PROCESS_COMMANDS.values(), *TRIGGER_COMMANDS.values()]

    # The others are composites, sleeps and waits, which have properties of their own.
    assert {command_kind(command) for command, _ in asked} == {
        "llm_call",
        "direct",
        "tool_attempt",
        "durable_step",
        "checkpoint",
        "sync_execution_environment",
        "runtime_value",
        "process",
        "trigger",
    }


def test_every_process_and_trigger_command_is_replayed_by_the_suite() -> None:
    assert set(PROCESS_COMMANDS) == {
        "start",
        "list",
        "transfer",
        "delete session",
        "await",
        "cancel",
        "signal",
        "emit event",
        "parent end",
    }
    assert set(TRIGGER_COMMANDS) == {
        "emit",
        "register",
        "update",
        "enable",
        "disable",
        "delete",
        "revive",
        "prune",
        "list",
    }
