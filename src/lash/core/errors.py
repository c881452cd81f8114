"""What can go wrong, said once: every error is a `LashError` with a documented code.

Two sorts of trouble never become exceptions out of a turn: what a model provider said and what a
tool failed with are data in the turn's result. Wiring, leases, stores and changed code raise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Blame = Literal["caller", "code", "store", "peer", "provider", "tool", "lash"]


@dataclass(frozen=True, slots=True)
class CodeInfo:
    """What a code means, whose fault it is and whether trying again can help."""

    summary: str
    blame: Blame
    retryable: bool = False
    terminal: bool = False


#: Every code lash raises or records. `docs/errors.md` is written from this table.
CATALOGUE: Mapping[str, CodeInfo] = {
    # --- the caller asked for something that cannot be -------------------------------------------
    "agent_unknown": CodeInfo(
        "No agent of that name is registered in this runtime.", "caller", terminal=True
    ),
    "agent_ambiguous": CodeInfo(
        "Several agents are registered; the session must name one.", "caller", terminal=True
    ),
    "agent_duplicate": CodeInfo("Two agents share a name and version.", "caller", terminal=True),
    "agent_invalid": CodeInfo(
        "An agent was declared with an unusable name, version or limit.", "caller", terminal=True
    ),
    # --- tools: schemas, catalogues and grants ---
    "tool_schema_invalid": CodeInfo(
        "A tool's JSON schema cannot be used; the message says why.", "caller", terminal=True
    ),
    "schema_projection_failed": CodeInfo(
        "A schema cannot be told to a model in any form that its provider takes.",
        "caller",
        terminal=True,
    ),
    "tool_catalog_invalid": CodeInfo(
        "A change of a tool catalogue does not add up: an id or a name twice, a tool nobody has.",
        "caller",
    ),
    "tool_source_unknown": CodeInfo("A tool catalogue has no source of that id.", "caller"),
    "tool_catalog_generation_mismatch": CodeInfo(
        "A tool catalogue was changed by somebody else since it was read.", "caller"
    ),
    "tool_grant_source_missing": CodeInfo(
        "A grant for a tool does not say where the tool is called.", "caller"
    ),
    "granted_tool_id_mismatch": CodeInfo(
        "A grant was to be used for another tool than it names.", "code", terminal=True
    ),
    # --- first-party tools: how they were set up ---
    "tool_set_invalid": CodeInfo(
        "First-party tools were set up with something unusable; the message names it.",
        "caller",
        terminal=True,
    ),
    "session_agent_mismatch": CodeInfo(
        "The session belongs to another agent.", "caller", terminal=True
    ),
    "session_unknown": CodeInfo("No session of that id is stored.", "caller", terminal=True),
    "session_id_invalid": CodeInfo(
        "A session id must be a non-blank string.", "caller", terminal=True
    ),
    "turn_id_invalid": CodeInfo("A turn id must be a non-blank string.", "caller", terminal=True),
    "source_key_invalid": CodeInfo(
        "A source key must be a non-blank string.", "caller", terminal=True
    ),
    "turn_input_invalid": CodeInfo(
        "The prompt is not text that can be stored.", "caller", terminal=True
    ),
    "turn_input_empty": CodeInfo("The prompt is empty.", "caller", terminal=True),
    "turn_input_cancelled": CodeInfo(
        "Queued input was taken back before a turn took it.", "caller", terminal=True
    ),
    "turn_input_unknown": CodeInfo(
        "No queued input of that id is stored.", "caller", terminal=True
    ),
    "turn_cancel_requested": CodeInfo("The turn was asked to stop.", "caller"),
    "session_deleted": CodeInfo(
        "The session was deleted; its id is not used again.", "caller", terminal=True
    ),
    "session_still_in_use": CodeInfo(
        "A session cannot be parked or closed while anything of it is under way.", "caller"
    ),
    "session_closed": CodeInfo("The handle on the session was closed.", "caller", terminal=True),
    "invalid_turn_cancel_request": CodeInfo(
        "A request to stop a turn must have a non-blank id.", "caller", terminal=True
    ),
    "session_cursor_malformed": CodeInfo(
        "That is no cursor of a session.", "caller", terminal=True
    ),
    "session_cursor_wrong_session": CodeInfo(
        "The cursor is another session's.", "caller", terminal=True
    ),
    "usage_report_decreased": CodeInfo(
        "A usage report counts less than the one before it.", "caller", terminal=True
    ),
    "fork_session_exists": CodeInfo(
        "A session of that id exists, so none can be forked under it.", "caller", terminal=True
    ),
    "fork_point_not_retained": CodeInfo(
        "The message to fork at is not in the session's history.", "caller", terminal=True
    ),
    "fork_point_invalid": CodeInfo(
        "The message to fork at leaves tool calls without an answer.", "caller", terminal=True
    ),
    "turn_terminal_await_timeout": CodeInfo(
        "The turn had not come to its end in time; it goes on.", "peer", retryable=True
    ),
    "session_command_invalid": CodeInfo(
        "A session command holds something that cannot be stored.", "caller", terminal=True
    ),
    "session_waits_for_itself": CodeInfo(
        "A tool would wait for a turn of the session it runs in.", "caller", terminal=True
    ),
    "chat_not_installed": CodeInfo(
        "The library that a chat in a terminal needs is not installed.", "caller", terminal=True
    ),
    "output_unwritable": CodeInfo("The output of a command could not be written.", "caller"),
    "child_session_too_deep": CodeInfo(
        "Child sessions have children of their own too many deep.", "caller", terminal=True
    ),
    "child_stopped": CodeInfo("The turn of a child session was stopped.", "caller"),
    "provider_mismatch": CodeInfo(
        "The session's history was made with another provider.", "caller", terminal=True
    ),
    "prompt_slot_unknown": CodeInfo(
        "A prompt layer names a slot that does not exist.", "caller", terminal=True
    ),
    "missing_done": CodeInfo("A turn broke off without an outcome.", "lash"),
    "assistant_output_recovered_from_state": CodeInfo(
        "A turn reported no outcome; its text was read from the transcript.", "lash"
    ),
    "turn_cancellation_evidence_missing": CodeInfo(
        "A turn ended as cancelled, but no request to stop it is known.", "lash"
    ),
    "agent_frame_switch_limit": CodeInfo(
        "A task was handed from agent frame to agent frame too often.", "lash"
    ),
    "turn_input_conflict": CodeInfo(
        "That turn id or source key was accepted before with other content.",
        "caller",
        terminal=True,
    ),
    "provider_unknown": CodeInfo(
        "The model string names a provider lash does not know.", "caller", terminal=True
    ),
    "provider_not_installed": CodeInfo(
        "The provider's SDK is not installed.", "caller", terminal=True
    ),
    "provider_not_configured": CodeInfo(
        "The provider has no credentials.", "caller", terminal=True
    ),
    "model_invalid": CodeInfo(
        "A model was declared with an unusable name or limit.", "caller", terminal=True
    ),
    "tool_signature_invalid": CodeInfo(
        "A tool's signature cannot be turned into a schema.", "caller", terminal=True
    ),
    "tool_duplicate": CodeInfo("Two tools of one agent share a name.", "caller", terminal=True),
    "plugin_invalid": CodeInfo("What was given for a plugin is none.", "caller", terminal=True),
    "plugin_conflict": CodeInfo(
        "Two plugins, or a plugin and an agent, do not go together.", "caller", terminal=True
    ),
    "plugin_not_installed": CodeInfo(
        "No installed package offers a plugin of that name.", "caller", terminal=True
    ),
    "plugin_start_failed": CodeInfo(
        "A plugin could not be started, so the runtime was not opened.", "code"
    ),
    "plugin_failed": CodeInfo("A hook or an operation of a plugin raised.", "code"),
    "plugin_unknown": CodeInfo("There is no plugin of that id.", "caller", terminal=True),
    "plugin_operation_unknown": CodeInfo(
        "A plugin has no operation of that name.", "caller", terminal=True
    ),
    "plugin_operation_args_invalid": CodeInfo(
        "The arguments do not fit the operation's schema.", "caller", terminal=True
    ),
    "plugin_operation_without_session": CodeInfo(
        "An operation was asked without a session, and needs one.", "caller", terminal=True
    ),
    "plugin_directive_invalid": CodeInfo(
        "A hook answered with what means nothing there.", "code", terminal=True
    ),
    "plugin_directive_conflict": CodeInfo(
        "Two plugins both replace the same thing.", "code", terminal=True
    ),
    "plugin_state_read_only": CodeInfo(
        "A plugin wanted to remember something where nothing is recorded.", "code", terminal=True
    ),
    "plugin_aborted": CodeInfo("A plugin ended the turn, or failed a tool call.", "code"),
    "tool_denied": CodeInfo("A plugin refused a tool call.", "code"),
    "tool_not_approved": CodeInfo("Nobody approved the tool call, or somebody refused it.", "peer"),
    "before_tool_call_failed": CodeInfo(
        "A hook before a tool call raised; the tool was not run.", "code"
    ),
    "after_tool_call_failed": CodeInfo(
        "A hook after a tool call raised; the answer is not kept.", "code"
    ),
    "runtime_closed": CodeInfo(
        "The runtime is not open (not entered yet, or closed).", "caller", terminal=True
    ),
    "idle_timeout": CodeInfo(
        "Work was still going on when idle() ran out of time.", "caller", retryable=True
    ),
    "stream_not_entered": CodeInfo(
        "A stream was used outside its `async with` block.", "caller", terminal=True
    ),
    "drift_policy_unknown": CodeInfo(
        "The runtime was given a drift policy lash does not know.", "caller", terminal=True
    ),
    "retry_invalid": CodeInfo(
        "A retry policy's numbers cannot be counted or waited.", "caller", terminal=True
    ),
    "lease_timings_invalid": CodeInfo(
        "A lease ttl must be at least three renew intervals.", "caller", terminal=True
    ),
    "value_not_of_type": CodeInfo("A JSON value does not fit the type it is read as.", "caller"),
    "type_without_json": CodeInfo(
        "A type was given whose values have no JSON form.", "caller", terminal=True
    ),
    "value_not_json": CodeInfo(
        "A value holds something JSON cannot carry.", "caller", terminal=True
    ),
    "missing_execution_scope_id": CodeInfo(
        "An execution scope has a blank id.", "caller", terminal=True
    ),
    "durable_store_required": CodeInfo(
        "Durable effects stand beside parts of the store that die with the process; all are named.",
        "caller",
        terminal=True,
    ),
    "duration_invalid": CodeInfo(
        "A length of time is negative, not finite or not a number.", "caller", terminal=True
    ),
    "tool_context_detached": CodeInfo(
        "A tool's context was used outside of a runtime.", "caller", terminal=True
    ),
    "operation_id_invalid": CodeInfo(
        "An operation id must be a non-blank string.", "caller", terminal=True
    ),
    "operation_nested": CodeInfo(
        "A step of an operation asked for an effect of that operation.", "caller", terminal=True
    ),
    "replay_unsupported": CodeInfo(
        "This runtime records no effects, so nothing can be replayed.", "caller", terminal=True
    ),
    "operation_not_entered": CodeInfo(
        "An operation was used outside its `async with` block.", "caller", terminal=True
    ),
    "turn_unknown": CodeInfo("No turn of that id is stored in the session.", "caller"),
    # --- waits ------------------------------------------------------------------------------------
    "invalid_await_event_wait_identity": CodeInfo(
        "What is waited for has a blank name or an ordinal below 1.", "caller", terminal=True
    ),
    "invalid_await_event_session_id": CodeInfo(
        "Waits of a session were to be ended, and its id is blank.", "caller", terminal=True
    ),
    "await_event_unknown_or_revoked": CodeInfo(
        "A wait's key is unknown, forged or revoked; which of them is not told.", "caller"
    ),
    "await_event_unsupported": CodeInfo(
        "This host keeps no promises, so nothing can be waited for.", "caller", terminal=True
    ),
    "await_event_cancel_unsupported": CodeInfo(
        "This host cannot cancel the waits of a session.", "caller", terminal=True
    ),
    "effect_journal_retirement_unsupported": CodeInfo(
        "This host keeps no journal that could be retired.", "caller", terminal=True
    ),
    "turn_control_wait_cancelled": CodeInfo(
        "Waiting for a turn was given up; the turn goes on.", "caller"
    ),
    "turn_control_wait_timeout": CodeInfo(
        "A turn did not get there before the waiter's deadline.", "caller", retryable=True
    ),
    "tool_completion_key_process_lifetime": CodeInfo(
        "A tool wants its answer from outside, and this runtime's keys die with the process.",
        "caller",
    ),
    "pending_tool_missing_completion_key": CodeInfo(
        "A tool left its answer to the outside without having asked for the key.", "tool"
    ),
    "tool_completion_timeout": CodeInfo("Nobody answered a tool call before its deadline.", "tool"),
    # --- processes --------------------------------------------------------------------------------
    "process_id_invalid": CodeInfo(
        "A process id is blank, too long or holds a '#'.", "caller", terminal=True
    ),
    "process_registration_invalid": CodeInfo(
        "A process cannot be registered as it was asked for.", "caller", terminal=True
    ),
    "process_conflict": CodeInfo(
        "The process id is another process's: other code, arguments or origin.",
        "caller",
        terminal=True,
    ),
    "process_unknown": CodeInfo("No process of that id is stored.", "caller", terminal=True),
    "process_no_longer_retained": CodeInfo(
        "The process ended and was pruned; its id is not used again.", "caller", terminal=True
    ),
    "process_not_visible": CodeInfo(
        "The session cannot see that process.", "caller", terminal=True
    ),
    "process_already_terminal": CodeInfo(
        "The process has ended; nothing more happens to it.", "caller", terminal=True
    ),
    "process_signal_undeclared": CodeInfo(
        "The process takes no signal of that name.", "caller", terminal=True
    ),
    "process_signal_name_invalid": CodeInfo(
        "A signal's name is letters, digits, '_' and '-'.", "caller", terminal=True
    ),
    "process_event_undeclared": CodeInfo(
        "The process declares no event of that type.", "code", terminal=True
    ),
    "process_event_reserved": CodeInfo(
        "Events of that type are appended by lash itself.", "caller", terminal=True
    ),
    "process_event_without_key": CodeInfo(
        "An event that must be appended once was given no replay key.", "caller", terminal=True
    ),
    "process_event_invalid": CodeInfo(
        "An event's payload does not fit the schema its process declares.", "caller", terminal=True
    ),
    "process_event_conflict": CodeInfo(
        "Another event was appended under the same key.", "caller", terminal=True
    ),
    "process_event_selector_failed": CodeInfo(
        "An event's payload lacks what its type refers to.", "code", terminal=True
    ),
    "process_outcome_mismatch": CodeInfo(
        "An event ends a process in another way than its type declares.", "code", terminal=True
    ),
    "process_completion_refused": CodeInfo(
        "Whoever wants to end the process has no right to.", "caller", terminal=True
    ),
    "process_external_ref_conflict": CodeInfo(
        "Where a process is really done is written once.", "caller", terminal=True
    ),
    "process_lease_lost": CodeInfo(
        "Another worker took over the process; the loser wrote nothing.", "peer", retryable=True
    ),
    "process_missing": CodeInfo(
        "Parked: no code of the process's name is registered here.", "code"
    ),
    "process_version_missing": CodeInfo(
        "Parked: that version of the process is not registered here.", "code"
    ),
    "process_engine_missing": CodeInfo("Parked: this worker has no engine of that kind.", "code"),
    "process_tool_missing": CodeInfo(
        "The agent of a tool call that runs as a process has no such tool.", "code"
    ),
    "process_env_missing": CodeInfo(
        "The environment a process runs under is not in the store.", "store"
    ),
    "process_failed": CodeInfo("A process raised an exception, or failed by its own word.", "code"),
    "process_panicked": CodeInfo("The executor of a process command raised.", "lash"),
    "process_cancelled": CodeInfo("The process was asked to stop.", "caller"),
    "process_abandoned": CodeInfo("The process was given up; nobody knows how far it got.", "peer"),
    "process_recovery_failed": CodeInfo(
        "An attempt at a process got nowhere; it is begun again later.", "lash", retryable=True
    ),
    "process_result_timeout": CodeInfo(
        "The process had not ended in time; it goes on.", "peer", retryable=True
    ),
    "process_signal_timeout": CodeInfo("No signal came before the deadline.", "peer"),
    "process_step_timeout": CodeInfo("A step of a process took too long.", "code"),
    "process_function_invalid": CodeInfo(
        "A function cannot be a process as it is declared.", "caller", terminal=True
    ),
    "process_duplicate": CodeInfo(
        "Two processes share a name and version.", "caller", terminal=True
    ),
    "process_unregistered": CodeInfo(
        "The process function is not registered in this runtime.", "caller", terminal=True
    ),
    "process_arguments_invalid": CodeInfo(
        "The arguments do not fit the process function.", "caller", terminal=True
    ),
    "process_result_invalid": CodeInfo(
        "A process returned something that cannot be stored.", "code"
    ),
    "process_context_misused": CodeInfo(
        "A process's context was used outside of its run, or inside one of its steps.",
        "code",
        terminal=True,
    ),
    "process_journal_left_over": CodeInfo(
        "A process asked for other effects than its journal records: its code changed.",
        "code",
        terminal=True,
    ),
    "process_session_turn_failed": CodeInfo(
        "The turn that a process stands for was stopped.", "code"
    ),
    "process_stopped_itself": CodeInfo("A process would wait for itself.", "caller", terminal=True),
    "worker_module_invalid": CodeInfo(
        "The module a worker was given cannot be imported or holds nothing to run.",
        "caller",
        terminal=True,
    ),
    # --- servers that speak MCP -----------------------------------------------------------------------
    "mcp_not_installed": CodeInfo(
        "The package that speaks MCP is not installed.", "caller", terminal=True
    ),
    "mcp_server_invalid": CodeInfo("An MCP server is declared wrongly.", "caller", terminal=True),
    "mcp_server_unavailable": CodeInfo(
        "An MCP server is away; the call was not sent.", "tool", retryable=True
    ),
    "mcp_connection_lost": CodeInfo(
        "The connection to an MCP server broke off in the middle of a call.", "tool", retryable=True
    ),
    "mcp_reconnect_exhausted": CodeInfo(
        "An MCP server could not be reached as often as was allowed.", "tool"
    ),
    "mcp_call_timeout": CodeInfo(
        "An MCP server gave no sign of life in the middle of a call.", "tool", retryable=True
    ),
    "mcp_call_deadline_exceeded": CodeInfo(
        "A call of an MCP server took too long in all.", "tool", retryable=True
    ),
    "mcp_pool_shut_down": CodeInfo("MCP servers are stopped with the runtime.", "lash"),
    "mcp_tool_error": CodeInfo("A tool of an MCP server failed by its own word.", "tool"),
    "mcp_request_refused": CodeInfo("An MCP server refused a call.", "tool"),
    "mcp_result_invalid": CodeInfo(
        "An MCP server answered something else than it says it answers.", "tool"
    ),
    "mcp_internal_error": CodeInfo(
        "Something unexpected went wrong while an MCP client was served.", "lash"
    ),
    "mcp_result_too_large": CodeInfo("An MCP server answered with more than is read.", "tool"),
    # --- steps and direct completions -----------------------------------------------------------------
    "durable_step_failed": CodeInfo("A durable step failed on every attempt.", "code"),
    "durable_effect_empty_step_id": CodeInfo(
        "A durable step has no name.", "caller", terminal=True
    ),
    "durable_effect_empty_event_key": CodeInfo(
        "A wait of an operation has no name.", "caller", terminal=True
    ),
    "durable_effect_event_timeout": CodeInfo(
        "Nobody resolved what an operation waited for before its deadline.", "peer"
    ),
    "durable_effect_event_cancelled": CodeInfo(
        "What an operation waited for was cancelled.", "peer"
    ),
    "direct_request_invalid": CodeInfo(
        "A direct completion asks for what cannot be sent.", "caller", terminal=True
    ),
    "direct_failed": CodeInfo("The provider did not answer a direct completion.", "provider"),
    "invalid_structured_output": CodeInfo(
        "The model's answer is not the JSON that was asked for.", "provider"
    ),
    # --- stored work meets other code ------------------------------------------------------------
    "agent_missing": CodeInfo("Parked: no agent of the recorded name is registered here.", "code"),
    "agent_version_missing": CodeInfo(
        "Parked: the recorded agent version is not registered here.", "code"
    ),
    "effect_replay_mismatch": CodeInfo(
        "The code asked for something else than what its journal records.", "code", terminal=True
    ),
    "effect_drift_refused": CodeInfo(
        "Instructions, tools or model changed under a running turn, and drift is refused.",
        "code",
        terminal=True,
    ),
    "effect_replay_missing": CodeInfo(
        "The code asked for an effect that the journal it is checked against does not hold.",
        "code",
        terminal=True,
    ),
    "effect_outcome_too_large": CodeInfo(
        "An effect's outcome exceeds the size limit.", "code", terminal=True
    ),
    "effect_panicked": CodeInfo(
        "An effect's executor raised an unexpected error.", "lash", terminal=True
    ),
    "runtime_effect_local_executor_unavailable": CodeInfo(
        "Nothing here can perform the effect, and it is not recorded.", "lash", terminal=True
    ),
    "runtime_effect_local_executor_mismatch": CodeInfo(
        "An executor was handed an effect of another kind.", "lash", terminal=True
    ),
    "runtime_effect_local_executor_consumed": CodeInfo(
        "An executor was used twice.", "lash", terminal=True
    ),
    "runtime_effect_sleep_cancelled": CodeInfo(
        "A sleep was broken off because its scope was asked to stop.", "peer"
    ),
    "runtime_effect_durable_step_id": CodeInfo(
        "A durable step has a blank name.", "lash", terminal=True
    ),
    "runtime_effect_invocation_subject": CodeInfo(
        "An effect envelope has no effect as its subject.", "lash", terminal=True
    ),
    "runtime_effect_invocation_kind": CodeInfo(
        "An effect envelope's kind differs from its command.", "lash", terminal=True
    ),
    "runtime_effect_replay_required": CodeInfo(
        "An effect envelope has no replay key.", "lash", terminal=True
    ),
    "runtime_effect_tool_attempt_call_id": CodeInfo(
        "A tool attempt has a blank call id.", "lash", terminal=True
    ),
    "runtime_effect_tool_attempt_index": CodeInfo(
        "A tool attempt's number is outside 1..max.", "lash", terminal=True
    ),
    "runtime_effect_tool_batch_id": CodeInfo("A tool batch has a blank id.", "lash", terminal=True),
    "runtime_effect_tool_batch_empty": CodeInfo(
        "A tool batch holds no calls.", "lash", terminal=True
    ),
    "runtime_effect_tool_batch_call_id": CodeInfo(
        "A call of a tool batch has a blank id.", "lash", terminal=True
    ),
    "runtime_effect_wrong_outcome": CodeInfo(
        "An effect was answered with another kind of outcome.", "lash", terminal=True
    ),
    # --- a peer won -------------------------------------------------------------------------------
    "session_execution_busy": CodeInfo(
        "Another process is driving this session.", "peer", retryable=True
    ),
    "session_execution_lease_lost": CodeInfo(
        "Another process took the session over; this one wrote nothing more.",
        "peer",
        retryable=True,
    ),
    "head_revision_conflict": CodeInfo(
        "The session moved on since the turn began.", "peer", retryable=True
    ),
    "turn_commit_conflict": CodeInfo(
        "The turn was committed before with other content.", "peer", terminal=True
    ),
    # --- the store ----------------------------------------------------------------------------------
    "store_busy": CodeInfo(
        "The database stayed locked by another writer.", "store", retryable=True
    ),
    "store_full": CodeInfo("No space is left for the database.", "store", retryable=True),
    "store_read_only": CodeInfo("The database cannot be written.", "store"),
    "store_unreachable": CodeInfo("The database file cannot be opened.", "store"),
    "store_foreign": CodeInfo("The file is not a lash database.", "store", terminal=True),
    "store_schema_newer": CodeInfo(
        "The database was written by a newer lash.", "store", terminal=True
    ),
    "store_corrupt": CodeInfo("A stored row cannot be read back.", "store", terminal=True),
    "store_closed": CodeInfo("The store is closed.", "store"),
    "store_failed": CodeInfo("The database refused an operation.", "store", retryable=True),
    "store_url_unknown": CodeInfo(
        "The database URL names a backend lash does not know.", "caller", terminal=True
    ),
    # --- attachments ------------------------------------------------------------------------------
    "attachment_id_invalid": CodeInfo(
        "An attachment's id must be 64 lowercase hexadecimal digits.", "caller", terminal=True
    ),
    "attachment_media_type_invalid": CodeInfo(
        "A media type must be `type/subtype` and nothing else.", "caller", terminal=True
    ),
    "attachment_invalid": CodeInfo(
        "What was to be attached is neither bytes nor a path, its label is no text, or its URL is none.",
        "caller",
        terminal=True,
    ),
    "attachment_policy_invalid": CodeInfo(
        "What may become an attachment was said in a way that cannot be meant.",
        "caller",
        terminal=True,
    ),
    "attachment_unreadable": CodeInfo("The file to attach cannot be read.", "caller"),
    "attachment_too_large": CodeInfo(
        "The attachment is larger than the runtime's policy allows.", "caller", terminal=True
    ),
    "attachment_not_admitted": CodeInfo(
        "The runtime's policy does not take such attachments.", "caller", terminal=True
    ),
    "attachment_not_found": CodeInfo(
        "The session has no such attachment; whether others have is not told.", "caller"
    ),
    "attachment_content_changed": CodeInfo(
        "The bytes changed while they were being stored.", "caller", retryable=True
    ),
    "attachment_corrupt": CodeInfo("The stored bytes are not those of the id.", "store"),
    "attachment_store_failed": CodeInfo(
        "The place where attachments lie could not be used.", "store", retryable=True
    ),
    "attachment_ref_lost": CodeInfo(
        "The reference was dropped before its bytes were stored.", "peer", retryable=True
    ),
    "attachment_ref_missing": CodeInfo(
        "A turn keeps an attachment that its session does not refer to.", "lash", terminal=True
    ),
    "attachment_reclamation_in_flight": CodeInfo(
        "The same bytes were being deleted all the while.", "peer", retryable=True
    ),
    "attachment_roots_empty": CodeInfo(
        "Nobody refers to anything, so everything would be deleted; that has to be allowed.",
        "caller",
    ),
    "attachment_roots_unreadable": CodeInfo(
        "Who refers to what could not be read, so nothing was deleted.", "store", retryable=True
    ),
    "attachment_resolution_failed": CodeInfo(
        "A model could not be shown an attachment whose bytes are gone.", "caller"
    ),
    "attachment_source_policy_denied": CodeInfo(
        "The runtime's policy does not take what a tool attached.", "tool"
    ),
    "provider_binding_mismatch": CodeInfo(
        "A file that lies at one provider was to be shown to a model of another.",
        "caller",
        terminal=True,
    ),
    "stored_attachment_not_resolved": CodeInfo(
        "A provider was given a request without the bytes of its attachments.",
        "code",
        terminal=True,
    ),
    "tool_value_malformed": CodeInfo(
        "A kept tool value holds tags that mean nothing.", "store", terminal=True
    ),
    # --- the command line -------------------------------------------------------------------------
    "usage_invalid": CodeInfo("The command line asks for what cannot be done.", "caller"),
    "agent_import_failed": CodeInfo("An --app argument names no usable agent.", "caller"),
    "journal_retired": CodeInfo(
        "The turn's journal was removed, so the turn cannot be replayed.", "caller", terminal=True
    ),
    "tool_import_failed": CodeInfo("A --tools argument names no usable function.", "caller"),
    "demo_failed": CodeInfo("A process of the demo did not do its part.", "lash"),
    # --- recorded in results, never raised out of a turn --------------------------------------------
    "tool_unavailable": CodeInfo("The model called a tool the agent does not have.", "tool"),
    "invalid_tool_args": CodeInfo("The model's arguments do not fit the tool's schema.", "tool"),
    "tool_panicked": CodeInfo("The tool raised an exception.", "tool"),
    "tool_error": CodeInfo("The tool reported a failure.", "tool"),
    "tool_output_not_json": CodeInfo("The tool returned something that cannot be stored.", "tool"),
    "tool_output_too_large": CodeInfo("The tool returned more than an effect may record.", "tool"),
    "tool_timeout": CodeInfo("The tool did not return in time.", "tool"),
    "tool_batch_result_count_mismatch": CodeInfo(
        "A tool batch answered another number of calls than it was given.", "lash", terminal=True
    ),
    "plugin_message_role": CodeInfo(
        "A plugin injected a message of a role it may not use.", "code", terminal=True
    ),
    "empty_response": CodeInfo("The model answered with nothing.", "provider"),
    "retry_budget_exhausted": CodeInfo("The model call failed on every attempt.", "provider"),
    "unsafe_retry_after_output_started": CodeInfo(
        "A model call broke off after output began and must not be repeated.", "provider"
    ),
    "stream_ended_before_finish_reason": CodeInfo(
        "The model's stream ended without its terminal event.", "provider", retryable=True
    ),
    "malformed_response": CodeInfo(
        "The provider sent something that is not its wire format.", "provider", retryable=True
    ),
    "timeout": CodeInfo("The provider did not answer in time.", "provider", retryable=True),
    "connection_failed": CodeInfo("The provider could not be reached.", "provider", retryable=True),
    "connection_lost": CodeInfo("The provider's stream broke off.", "provider", retryable=True),
    "credential_refresh_failed": CodeInfo("The api_key function gave no usable key.", "caller"),
    "reconfigure_failed": CodeInfo(
        "The turn's tools or instructions could not be prepared.", "lash"
    ),
    "token_usage_accounting": CodeInfo("Token counts are negative or overflow.", "provider"),
    "code_dialect_unknown": CodeInfo(
        "The model wrote code in a language no dialect is registered for.", "caller"
    ),
    "turn_restarted": CodeInfo(
        "A turn was begun again from its input because its surroundings changed.", "code"
    ),
    "surroundings_drift": CodeInfo(
        "Instructions, tools or model changed under a running turn; the record was used.", "code"
    ),
    # --- triggers ---------------------------------------------------------------------------------
    "trigger_event_invalid": CodeInfo(
        "An event was declared with an unusable name or schema.", "caller", terminal=True
    ),
    "trigger_event_duplicate": CodeInfo(
        "Two declared events share a name.", "caller", terminal=True
    ),
    "trigger_event_unknown": CodeInfo(
        "No event of that name is declared in this runtime.", "caller", terminal=True
    ),
    "trigger_subscription_invalid": CodeInfo(
        "A subscription cannot be kept, matched or started like this.", "caller", terminal=True
    ),
    "trigger_subscription_conflict": CodeInfo(
        "A subscription is not as a change takes it for: it differs, is deleted, absent, or at "
        "another revision.",
        "caller",
        terminal=True,
    ),
    "trigger_payload_invalid": CodeInfo(
        "What an event says does not fit its schema, or the subscription's.",
        "caller",
        terminal=True,
    ),
    "trigger_input_missing": CodeInfo(
        "A subscription takes something from an event that the event does not say.",
        "caller",
        terminal=True,
    ),
    "trigger_occurrence_invalid": CodeInfo(
        "An occurrence needs a name and a key that are not blank.", "caller", terminal=True
    ),
    "trigger_occurrence_conflict": CodeInfo(
        "The key stands for another occurrence already.", "caller", terminal=True
    ),
    "trigger_delivery_unknown": CodeInfo(
        "No delivery of that id is stored.", "caller", terminal=True
    ),
    "cron_invalid": CodeInfo(
        "A schedule can never come due, or says when wrongly.", "caller", terminal=True
    ),
    "cron_not_installed": CodeInfo(
        "The package that reads cron expressions is not installed.", "caller", terminal=True
    ),
    "webhook_secret_blank": CodeInfo("The secret of a webhook is empty.", "caller", terminal=True),
    "webhook_signature_invalid": CodeInfo(
        "A webhook's signature is missing or wrong.", "peer", terminal=True
    ),
    "webhook_body_invalid": CodeInfo(
        "A webhook's request is too large, not JSON, or has no id.", "peer", terminal=True
    ),
    "trigger_start_failed": CodeInfo(
        "A delivery could not be started just now; it is tried again.", "lash", retryable=True
    ),
    "script_exhausted": CodeInfo(
        "A ScriptedModel was asked for more answers than it holds.", "caller"
    ),
}


class LashError(Exception):
    """Base of every error lash raises.

    Attributes:
        code: A documented string from the catalogue (`docs/errors.md`); unknown codes are kept.
        message: What happened and what to do about it.
        retryable: Whether the same call may succeed later without a change.
        terminal: Whether the same call can never succeed without a change.
        details: Facts about the case, JSON-like, free of secrets.
    """

    def __init__(self, code: str, message: str, **details: object) -> None:
        super().__init__(message)
        info = CATALOGUE.get(code)
        self.code = code
        self.message = message
        self.retryable = info.retryable if info else False
        self.terminal = info.terminal if info else False
        self.details: Mapping[str, object] = details

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.code, self.message, dict(self.details)))


class ConfigurationError(LashError):
    """The pieces do not fit together; nothing was started. See `.code`."""


class StoreError(LashError):
    """The database did not do what was asked; nothing was half done. See `.code`."""


class SessionBusyError(LashError):
    """Another live process drives this session (`session_execution_busy`, retryable).

    `details["holder"]` says who; nothing of the refused call was written.
    """


class LeaseLostError(LashError):
    """Another process took the work over (`session_execution_lease_lost`); nothing was written."""


class ConflictError(LashError):
    """The same id or key was used before with other content. See `.code` and `.details`."""


class StepError(LashError):
    """A durable step failed (`durable_step_failed`).

    Raised by a step's own function, it ends the step at once: no further attempt is made.
    """

    def __init__(self, message: str, code: str = "durable_step_failed", **details: object) -> None:
        super().__init__(code, message, **details)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_step, (self.message, self.code, dict(self.details)))


class WaitError(LashError):
    """A wait ended without what it was for.

    `durable_effect_event_timeout`, `durable_effect_event_cancelled`, or the code the outside gave.
    Waiting again gives the same answer, so it is never retryable, whatever that code says elsewhere.
    """

    def __init__(self, code: str, message: str, **details: object) -> None:
        super().__init__(code, message, **details)
        self.retryable = False


class ProcessError(LashError):
    """A process did not succeed: it failed, was cancelled or abandoned, or never ended in time.

    The code is the failure's own, or `process_cancelled`, `process_abandoned`,
    `process_no_longer_retained`, `process_result_timeout`.
    """


class ProcessCancelledError(LashError):
    """Raised inside a process that was asked to stop, once: where it waits, or at its next effect.

    Let it pass to end as cancelled; catch it to clean up first. What is asked for afterwards runs.
    """

    def __init__(self, reason: str | None = None) -> None:
        self.reason = reason
        super().__init__("process_cancelled", reason or "The process was asked to stop.")


class DirectError(LashError):
    """A direct completion came to nothing usable: `direct_failed`, `invalid_structured_output`."""


class ReplayError(LashError):
    """Stored work met code that asks for something else. See `.code` and `.details["paths"]`."""


def _rebuild(
    kind: type[LashError], code: str, message: str, details: dict[str, object]
) -> LashError:
    return kind(code, message, **details)


def _rebuild_step(message: str, code: str, details: dict[str, object]) -> StepError:
    return StepError(message, code, **details)
