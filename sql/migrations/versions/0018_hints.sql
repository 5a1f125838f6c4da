-- What callbacks say may have changed, and which ones were refused.

-- One row a record, however often it is named: a storm costs no more than the records it is about.
create sequence cw_sync.hint_seq;
create table cw_sync.hint (
    tenant    text        not null,
    type      text        not null,
    record_id bigint      not null,
    action    text        not null,
    stamp     timestamptz,
    seq       bigint      not null default nextval('cw_sync.hint_seq'),
    first_at  timestamptz not null default now(),
    last_at   timestamptz not null default now(),
    times     integer     not null,
    tries     integer     not null default 0,
    due_at    timestamptz not null default now(),
    primary key (tenant, type, record_id)
) with (fillfactor = 70);
comment on table cw_sync.hint is
    'Records that callbacks say may have changed, until they were read. Only a reason to ask: nothing of a callback itself is stored';
comment on column cw_sync.hint.stamp is 'The latest lastUpdated that a callback had for it';
comment on column cw_sync.hint.seq is 'Changes with each callback: who has read the record deletes the hint only if none came meanwhile';
comment on column cw_sync.hint.due_at is 'When it is to be read: later than at once if an answer was older than the callback, or could not be had';

create table cw_sync.callback_count (
    tenant  text        not null,
    outcome text        not null,
    times   bigint      not null,
    last_at timestamptz not null default now(),
    primary key (tenant, outcome)
);
comment on table cw_sync.callback_count is
    'How many callbacks were taken, and how many were refused for which reason';
