"""A database as the first version of the schema left it, written by hand: nothing of it is computed."""

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
    usage TEXT NOT NULL DEFAULT '{}'
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
    message TEXT NOT NULL
);
CREATE UNIQUE INDEX nodes_by_id ON nodes (session_id, node_id);
CREATE TABLE scopes (id INTEGER PRIMARY KEY, scope_key TEXT NOT NULL UNIQUE);
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
    fencing_token INTEGER NOT NULL
);
CREATE UNIQUE INDEX journal_by_key ON journal (scope, replay_key);
PRAGMA application_id = 1818325864;
PRAGMA user_version = 1;
"""

#: A session with a committed turn, one whose driver died, and one that waits behind it; and an
#: operation of the host.
_ROWS = """
INSERT INTO sessions VALUES ('s', 'support', '1', 1750000000000, 1750000003000, 3, 1, 't1.m1',
    'session-node:v1:sha256:0d8462b4de5a7b31e48f9d6a06345b6d2a148a8362e363b3460e7b47d69994ab', 1,
    '{"input_tokens":10,"output_tokens":3}');
INSERT INTO leases VALUES ('s', 2, 'ana', 'ana-1', 'host-a', 'nonce-of-ana-1', 1750000000000,
    1750000030000);
INSERT INTO inputs VALUES ('s', 't1', 1, 'k1', 'support', '1',
    '{"items":[{"text":"hello","type":"text"}]}', 1750000000000, 1, NULL);
INSERT INTO inputs VALUES ('s', 't2', 2, 'k2', 'support', '1',
    '{"items":[{"text":"hello","type":"text"}]}', 1750000002000, 0,
    '{"code":"effect_replay_mismatch","message":"it differs","parked_at_ms":1750000002500}');
INSERT INTO inputs VALUES ('s', 't3', 3, NULL, 'support', '1',
    '{"items":[{"text":"and then?","type":"text"}]}', 1750000003000, 0, NULL);
INSERT INTO turns VALUES ('s', 't1', 1,
    'turn-commit:v1:sha256:289d8bea7286be793b8a7eb47bd7464615000e663b494151a5fcb078e38bee32',
    '{"issues":[],"llm_calls":[],"outcome":{"result":{"text":"hi","type":"assistant_message"},'
    || '"status":"finished"},"revision":1,"session_id":"s","text":"hi","timing":'
    || '{"accepted_at_ms":1750000000000,"committed_at_ms":1750000001000,"drive_ms":7},'
    || '"tool_calls":[],"turn_id":"t1","usage":{"input_tokens":10,"output_tokens":3}}');
INSERT INTO nodes VALUES (1, 's', 't1.m0', NULL,
    'session-node:v1:sha256:e7364db2bc7f437d8df3c59ae7a0943610c46a43b0d72b70cca9e7e51c1d8a33', 't1',
    '{"id":"t1.m0","parts":[{"content":"hello","id":"t1.m0.p0","kind":"text"}],"role":"user"}');
INSERT INTO nodes VALUES (2, 's', 't1.m1', 't1.m0',
    'session-node:v1:sha256:0d8462b4de5a7b31e48f9d6a06345b6d2a148a8362e363b3460e7b47d69994ab', 't1',
    '{"id":"t1.m1","parts":[{"content":"hi","id":"t1.m1.p0","kind":"text"}],"role":"assistant"}');
INSERT INTO scopes VALUES (1, '{"version":2,"kind":"turn","session_id":"s","execution_id":"t1"}');
INSERT INTO scopes VALUES (2, '{"version":2,"kind":"turn","session_id":"s","execution_id":"t2"}');
INSERT INTO scopes VALUES (3, '{"version":2,"kind":"op","execution_id":"o"}');
INSERT INTO scopes VALUES (4, '{"version":2,"kind":"process","execution_id":"p"}');
INSERT INTO scopes VALUES (5, 'a key of nobody');
INSERT INTO journal VALUES (1, 1, 'r1', 'llm_call', '1:identity', '1:around', '{}',
    '{"type":"llm_call"}', 1750000000500, 1.5, 1);
INSERT INTO journal VALUES (2, 2, 'r1', 'sleep', '1:identity', '', '{}',
    '{"due_at_ms":1750000009000,"type":"sleep"}', 1750000002100, 0.0, 2);
INSERT INTO journal VALUES (3, 2, 'r2', 'tool_attempt', '1:identity', '', '{}',
    '{"text":"é","type":"tool_attempt"}', 1750000002200, 2.5, 2);
INSERT INTO journal VALUES (4, 3, 'r1', 'checkpoint', '1:identity', '', '{}',
    '{"type":"checkpoint"}', 1750000000600, 0.5, 0);
INSERT INTO journal VALUES (5, 4, 'r1', 'sleep', '1:identity', '', '{}',
    '{"code":"x","message":"y","type":"failed"}', 1750000000700, 0.5, 0);
INSERT INTO journal VALUES (6, 5, 'r1', 'sleep', '1:identity', '', '{}', 'not even JSON',
    1750000000800, 0.5, 0);
"""


def write_version_one(path: Path) -> None:
    """Write the database to a file that is not there yet."""
    write_database(path, _SCHEMA, _ROWS)
