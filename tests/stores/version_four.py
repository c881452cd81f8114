"""A database as the fourth version of the schema left it, written by hand: nothing of it is computed."""

from pathlib import Path

from old_database import write_database

_SCHEMA = """
CREATE TABLE sessions (
    session_id TEXT PRIMARY KEY,
    agent_name TEXT NOT NULL,
    agent_version TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    accepted INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 0,
    leaf_id TEXT,
    leaf_digest TEXT NOT NULL DEFAULT '',
    turn_index INTEGER NOT NULL DEFAULT 0,
    usage TEXT NOT NULL DEFAULT '{}',
    leaf INTEGER,
    frame_id TEXT NOT NULL DEFAULT '',
    config TEXT NOT NULL DEFAULT '{}',
    relation TEXT NOT NULL DEFAULT '{"kind":"root"}',
    origin TEXT
);
CREATE TABLE leases (
    session_id TEXT PRIMARY KEY,
    fencing_token INTEGER NOT NULL,
    owner_id TEXT,
    incarnation TEXT,
    host TEXT,
    nonce TEXT,
    claimed_at_ms INTEGER,
    expires_at_ms INTEGER
);
CREATE TABLE inputs (
    session_id TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    source_key TEXT,
    agent_name TEXT NOT NULL,
    agent_version TEXT NOT NULL,
    input TEXT NOT NULL,
    accepted_at_ms INTEGER NOT NULL,
    committed INTEGER NOT NULL DEFAULT 0,
    parked TEXT,
    superseded_by TEXT,
    restarts INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (session_id, turn_id)
);
CREATE UNIQUE INDEX inputs_by_source ON inputs (session_id, source_key)
    WHERE source_key IS NOT NULL;
CREATE INDEX inputs_open ON inputs (session_id, sequence) WHERE committed = 0;
CREATE TABLE turns (
    session_id TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    commit_hash TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (session_id, turn_id)
);
CREATE UNIQUE INDEX turns_by_revision ON turns (session_id, revision);
CREATE TABLE nodes (
    id INTEGER PRIMARY KEY,
    session_id TEXT NOT NULL,
    node_id TEXT NOT NULL,
    parent_id TEXT,
    digest TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    message TEXT NOT NULL,
    kind TEXT NOT NULL DEFAULT 'message',
    parent INTEGER
);
CREATE UNIQUE INDEX nodes_by_id ON nodes (session_id, node_id);
CREATE TABLE scopes (
    id INTEGER PRIMARY KEY,
    scope_key TEXT NOT NULL UNIQUE,
    session_id TEXT,
    process_id TEXT,
    finished_at_ms INTEGER
);
CREATE TABLE journal (
    id INTEGER PRIMARY KEY,
    scope INTEGER NOT NULL REFERENCES scopes (id),
    replay_key TEXT NOT NULL,
    kind TEXT NOT NULL,
    identity TEXT NOT NULL,
    surroundings TEXT NOT NULL,
    envelope TEXT NOT NULL,
    outcome TEXT NOT NULL,
    recorded_at_ms INTEGER NOT NULL,
    duration_ms REAL NOT NULL,
    fencing_token INTEGER NOT NULL,
    blob TEXT,
    bytes INTEGER,
    due_at_ms INTEGER
);
CREATE UNIQUE INDEX journal_by_key ON journal (scope, replay_key);
CREATE TABLE meta (
    singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
    signing_secret BLOB NOT NULL
);
CREATE TABLE await_events (
    id INTEGER PRIMARY KEY,
    key_id TEXT NOT NULL UNIQUE,
    scope INTEGER NOT NULL REFERENCES scopes (id),
    session_id TEXT,
    wait TEXT NOT NULL,
    turn_control INTEGER NOT NULL,
    deadline_at_ms INTEGER,
    resolution TEXT,
    created_at_ms INTEGER NOT NULL,
    resolved_at_ms INTEGER
);
CREATE INDEX await_events_by_scope ON await_events (scope);
CREATE INDEX await_events_by_session ON await_events (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX await_events_resolved ON await_events (resolved_at_ms)
    WHERE resolved_at_ms IS NOT NULL;
CREATE TABLE revoked_sessions (
    session_id TEXT PRIMARY KEY,
    revoked_at_ms INTEGER NOT NULL
);
CREATE TABLE surroundings (digest TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE blobs (digest TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE INDEX scopes_by_session ON scopes (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX scopes_by_process ON scopes (process_id) WHERE process_id IS NOT NULL;
CREATE INDEX scopes_finished ON scopes (finished_at_ms) WHERE finished_at_ms IS NOT NULL;
CREATE INDEX journal_by_blob ON journal (blob) WHERE blob IS NOT NULL;
CREATE INDEX journal_by_surroundings ON journal (surroundings) WHERE surroundings <> '';
CREATE TABLE deleted_sessions (
    session_id TEXT PRIMARY KEY,
    deleted_at_ms INTEGER NOT NULL,
    leaf INTEGER
);
CREATE TABLE queue (
    session_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    source_key TEXT,
    ingress TEXT NOT NULL,
    scope TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    content TEXT NOT NULL,
    payload TEXT,
    merge_key TEXT,
    agent_name TEXT,
    agent_version TEXT,
    enqueued_at_ms INTEGER NOT NULL,
    available_at_ms INTEGER NOT NULL,
    turn_id TEXT,
    effect_key TEXT,
    message_id TEXT,
    settled_at_ms INTEGER,
    PRIMARY KEY (session_id, item_id)
);
CREATE UNIQUE INDEX queue_by_source ON queue (session_id, source_key)
    WHERE source_key IS NOT NULL;
CREATE INDEX queue_waiting ON queue (session_id, sequence)
    WHERE state IN ('pending_active', 'deferred_next_turn');
CREATE INDEX queue_by_turn ON queue (session_id, turn_id, sequence)
    WHERE state IN ('pending_active', 'accepted');
CREATE INDEX queue_settled ON queue (settled_at_ms) WHERE settled_at_ms IS NOT NULL;
CREATE INDEX leases_held ON leases (session_id) WHERE nonce IS NOT NULL;
CREATE TABLE turn_cancels (
    session_id TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    cancellation TEXT NOT NULL,
    requested_at_ms INTEGER NOT NULL,
    settled_at_ms INTEGER,
    PRIMARY KEY (session_id, turn_id)
);
CREATE INDEX turn_cancels_settled ON turn_cancels (settled_at_ms)
    WHERE settled_at_ms IS NOT NULL;
CREATE TABLE usage (
    session_id TEXT NOT NULL,
    source TEXT NOT NULL,
    model TEXT NOT NULL,
    usage TEXT NOT NULL,
    PRIMARY KEY (session_id, source, model)
);
CREATE INDEX sessions_by_origin ON sessions (origin) WHERE origin IS NOT NULL;
CREATE INDEX sessions_by_leaf ON sessions (leaf) WHERE origin IS NOT NULL;
CREATE INDEX deleted_shared ON deleted_sessions (session_id) WHERE leaf IS NOT NULL;
CREATE INDEX nodes_by_parent ON nodes (parent) WHERE parent IS NOT NULL;
CREATE TABLE processes (
    process_id TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    change_seq INTEGER NOT NULL,
    status TEXT NOT NULL,
    runnable_at_ms INTEGER,
    parked INTEGER NOT NULL,
    wake_session_id TEXT,
    fencing_token INTEGER NOT NULL DEFAULT 0,
    owner_id TEXT,
    incarnation TEXT,
    host TEXT,
    nonce TEXT,
    claimed_at_ms INTEGER,
    expires_at_ms INTEGER,
    originator TEXT NOT NULL,
    parent_id TEXT,
    kind TEXT NOT NULL,
    label TEXT,
    definition TEXT,
    state TEXT NOT NULL,
    registration TEXT NOT NULL
);
CREATE UNIQUE INDEX processes_by_change ON processes (change_seq);
CREATE INDEX processes_runnable ON processes (process_id) WHERE runnable_at_ms IS NOT NULL;
CREATE INDEX processes_resting ON processes (runnable_at_ms) WHERE runnable_at_ms > 0;
CREATE INDEX processes_live ON processes (process_id)
    WHERE status IN ('running', 'waiting');
CREATE INDEX processes_ended ON processes (process_id, updated_at_ms)
    WHERE status IN ('completed', 'failed', 'cancelled', 'abandoned');
CREATE INDEX processes_by_parent ON processes (parent_id, process_id)
    WHERE parent_id IS NOT NULL;
CREATE INDEX processes_by_definition ON processes (definition, process_id)
    WHERE definition IS NOT NULL;
CREATE INDEX processes_waking ON processes (wake_session_id, process_id)
    WHERE wake_session_id IS NOT NULL;
CREATE TABLE process_events (
    process_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    occurred_at_ms INTEGER NOT NULL,
    replay_key TEXT,
    semantics TEXT,
    payload TEXT NOT NULL,
    PRIMARY KEY (process_id, sequence)
) WITHOUT ROWID;
CREATE UNIQUE INDEX process_events_by_key ON process_events (process_id, replay_key)
    WHERE replay_key IS NOT NULL;
CREATE INDEX process_events_by_type ON process_events (process_id, event_type, sequence);
CREATE TABLE process_observers (
    session_id TEXT NOT NULL,
    process_id TEXT NOT NULL,
    PRIMARY KEY (session_id, process_id)
) WITHOUT ROWID;
CREATE INDEX process_observers_by_process ON process_observers (process_id, session_id);
CREATE TABLE process_wakes (
    process_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    session_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    text TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at_ms INTEGER NOT NULL,
    discard_reason TEXT,
    PRIMARY KEY (process_id, sequence)
) WITHOUT ROWID;
CREATE INDEX process_wakes_due ON process_wakes (next_attempt_at_ms)
    WHERE state = 'pending';
CREATE INDEX process_wakes_pending ON process_wakes (process_id, session_id, sequence)
    WHERE state = 'pending';
CREATE INDEX process_wakes_of_session ON process_wakes (session_id)
    WHERE state = 'pending';
CREATE TABLE process_envs (env_ref TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE process_tombstones (
    process_id TEXT PRIMARY KEY,
    status TEXT NOT NULL,
    pruned_at_ms INTEGER NOT NULL,
    change_seq INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX process_tombstones_by_change ON process_tombstones (change_seq);
CREATE TABLE process_clock (
    singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
    seq INTEGER NOT NULL
);
PRAGMA application_id = 1818325864;
PRAGMA user_version = 4;
"""

#: What the third version's has, and a process that has charged and waits for a signal.
_ROWS = """
INSERT INTO meta VALUES (1, x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f');
INSERT INTO sessions VALUES ('s', 'support', '1', 1750000000000, 1750000006000, 2, 1, 't1.m1',
    'session-node:v1:sha256:0d8462b4de5a7b31e48f9d6a06345b6d2a148a8362e363b3460e7b47d69994ab', 1,
    '{"input_tokens":10,"output_tokens":3}', 2, '', '{}', '{"kind":"root"}', NULL);
INSERT INTO deleted_sessions VALUES ('gone', 1750000000001, NULL);
INSERT INTO leases VALUES ('s', 1, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO inputs VALUES ('s', 't1', 1, 'k1', 'support', '1',
    '{"items":[{"text":"hello","type":"text"}]}', 1750000000000, 1, NULL, NULL, 0);
INSERT INTO turns VALUES ('s', 't1', 1,
    'turn-commit:v1:sha256:289d8bea7286be793b8a7eb47bd7464615000e663b494151a5fcb078e38bee32',
    '{"issues":[],"llm_calls":[],"outcome":{"result":{"text":"hi","type":"assistant_message"},'
    || '"status":"finished"},"revision":1,"session_id":"s","text":"hi","timing":'
    || '{"accepted_at_ms":1750000000000,"committed_at_ms":1750000001000,"drive_ms":7},'
    || '"tool_calls":[],"turn_id":"t1","turn_index":1,'
    || '"usage":{"input_tokens":10,"output_tokens":3}}');
INSERT INTO nodes VALUES (1, 's', 't1.m0', NULL,
    'session-node:v1:sha256:e7364db2bc7f437d8df3c59ae7a0943610c46a43b0d72b70cca9e7e51c1d8a33', 't1',
    '{"id":"t1.m0","parts":[{"content":"hello","id":"t1.m0.p0","kind":"text"}],"role":"user"}',
    'message', NULL);
INSERT INTO nodes VALUES (2, 's', 't1.m1', 't1.m0',
    'session-node:v1:sha256:0d8462b4de5a7b31e48f9d6a06345b6d2a148a8362e363b3460e7b47d69994ab', 't1',
    '{"id":"t1.m1","parts":[{"content":"hi","id":"t1.m1.p0","kind":"text"}],"role":"assistant"}',
    'message', 1);
INSERT INTO usage VALUES ('s', 'turn', '', '{"input_tokens":10,"output_tokens":3}');
INSERT INTO queue VALUES ('s', 'i1', 2, 'q1', '{"scope":"next_turn"}', 'next_turn', 'turn_input',
    'deferred_next_turn', 'queued-item:v1:sha256:any',
    '{"input":{"items":[{"text":"more","type":"text"}]},"type":"turn_input"}', NULL, NULL, NULL,
    1750000006000, 0, NULL, NULL, NULL, NULL);
INSERT INTO scopes VALUES (1, '{"version":2,"kind":"turn","session_id":"s","execution_id":"t1"}', 's',
    NULL, 1750000001000);
INSERT INTO scopes VALUES (2, '{"version":2,"kind":"process","execution_id":"p"}', NULL, 'p', NULL);
INSERT INTO journal VALUES (1, 2, 'r1', 'sleep', '1:identity', '', '{}',
    '{"due_at_ms":1750000009000,"type":"sleep"}', 1750000005100, 0.0, 0, NULL, 43, 1750000009000);
INSERT INTO process_clock VALUES (1, 1);
INSERT INTO processes VALUES ('refund-o-7',
    'process-registration:v1:sha256:2f4472ee24ae69ef2aa7d5a878ab41cb32bb3a0f68686cd82352f76e7774e328',
    1750000000000, 1750000000000, 1, 'running', 0, 0, 's', 1, NULL, NULL, NULL, NULL, NULL, NULL,
    'session:s', NULL, 'python', 'refund', 'refund',
    '{"first_started":{"attempt":1,"fencing_token":1,"owner":{"host":"there","incarnation":"run_1",'
    || '"owner_id":"owner_1"},"started_at_ms":1750000000000},"sequence":1,"started":{"attempt":1,'
    || '"fencing_token":1,"owner":{"host":"there","incarnation":"run_1","owner_id":"owner_1"},'
    || '"started_at_ms":1750000000000},"updated_at_ms":1750000000000,"wake_session_id":"s"}',
    '{"disposition":"rerunnable","env_ref":"process-env:v1:sha256:'
    || '3cc2e5435e5380ba69a1d5f91241d335cacf121eb0b4212d75b03e120039744c","event_types":[{"name":'
    || '"process.wake","payload_schema":{"properties":{"text":{"minLength":1,"type":"string"}},'
    || '"required":["text"],"type":"object"},"wake":{"input":{"pointer":"/text","select":"pointer"}}}'
    || '],"identity":{"definition":"refund","kind":"python","label":"refund","version":"1"},"input":'
    || '{"kind":"python","payload":{"args":{"order_id":"o-7"},"name":"refund","version":"1"},"type":'
    || '"engine"},"open_signals":true,"process_id":"refund-o-7","provenance":{"originator":'
    || '{"session_id":"s","type":"session"}},"wake_session_id":"s"}');
INSERT INTO process_events VALUES ('refund-o-7', 1, 'process.started', 1750000000000,
    'process:refund-o-7:started:1', NULL,
    '{"started":{"attempt":1,"fencing_token":1,"owner":{"host":"there","incarnation":"run_1",'
    || '"owner_id":"owner_1"},"started_at_ms":1750000000000}}');
INSERT INTO process_observers VALUES ('s', 'refund-o-7');
INSERT INTO process_envs VALUES (
    'process-env:v1:sha256:3cc2e5435e5380ba69a1d5f91241d335cacf121eb0b4212d75b03e120039744c', '{}');
INSERT INTO scopes VALUES (3, '{"version":2,"kind":"process","execution_id":"refund-o-7"}', NULL,
    'refund-o-7', NULL);
INSERT INTO journal VALUES (2, 3, 'step:charge:1:attempt:1', 'durable_step',
    '1:Au6xOxDV7eu2VgtFhGrzrw', '', '{"identity":{"input":{"0":-1},"step_id":"charge"}}',
    '{"type":"durable_step","value":1}', 1750000000000, 0.0, 1, NULL, 33, NULL);
"""


def write_version_four(path: Path) -> None:
    """Write the database to a file that is not there yet."""
    write_database(path, _SCHEMA, _ROWS)
