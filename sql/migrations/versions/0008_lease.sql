-- Leases: the right to run an entity, which ends with its runner's life and not with a session.

-- Who may run an entity. A session lock cannot say that behind a pooler that lends a connection for
-- one transaction at a time: it would stay with the connection, not with its runner.
create table cw_sync.lease (
    tenant          text        not null,
    purpose         text        not null,
    entity          text        not null,
    run_id          bigint      not null unique,
    holder          text        not null,
    machine         text,
    process_id      integer     not null,
    process_started bigint,
    span            interval    not null,
    taken_at        timestamptz not null,
    expires_at      timestamptz not null,
    primary key (tenant, purpose, entity)
) with (fillfactor = 50);
comment on table cw_sync.lease is
    'Who may run an entity, until expires_at; its runner renews it while it lives. Whoever takes an ended one over gives it a run_id of its own, and the run before may write no more. machine, process_id and process_started tell a new runner on the same machine that the holder is gone';

-- Called by every transaction of a run before it writes. A take-over changes run_id, which is unique
-- and so counts as a key: it waits for the transactions that have called this. A renewal does not.
create function cw_sync.fence(run bigint) returns bigint language plpgsql as $$
begin
    -- A process that stands still in a transaction would else keep its lease from being taken over.
    perform set_config('idle_in_transaction_session_timeout', '30s', true);
    -- Says in pg_locks whose transaction this is.
    perform pg_advisory_xact_lock_shared(hashtext('cw_sync.lease'), mod(run, 2147483647)::integer);
    perform from cw_sync.lease l where l.run_id = run for key share;
    if not found then
        raise exception using errcode = 'CW001', message = coalesce(
            (select r.entity || ': ' from cw_sync.run r where r.run_id = run), ''
        ) || 'another runner has taken this over, or may do so: this one was not heard of for too '
            'long. What it had written until then is kept';
    end if;
    return run;
end $$;

-- A run has the id of its lease. An older cw_pipeline, which knows no leases, names none and so can
-- begin no run beside one of ours.
alter table cw_sync.run alter column run_id drop identity;
create sequence cw_sync.next_run_id owned by cw_sync.run.run_id;
select setval('cw_sync.next_run_id', coalesce(max(run_id), 0) + 1, false) from cw_sync.run;
