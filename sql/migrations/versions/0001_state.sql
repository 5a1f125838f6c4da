-- State: checkpoints, runs, dead letters.

-- How far each entity has come, what ran, and what could not be loaded.
-- `tenant` is the schema of the tenant's entity tables: several tenants may share a warehouse.

create table cw_sync.checkpoint (
    tenant      text        not null,
    entity      text        not null,
    watermark   timestamptz,
    pass_since  timestamptz,
    pass_until  timestamptz,
    cursor      bigint,
    page_size   integer,
    row_count   bigint,
    run_id      bigint,
    updated_at  timestamptz not null default now(),
    primary key (tenant, entity)
);
comment on table cw_sync.checkpoint is
    'Every change up to watermark is in the warehouse. pass_until is set while a pass is open: it asked for lastUpdated >= pass_since, and cursor is the last id committed of its open-ended tail. Only the run run_id may move it';

create table cw_sync.id_range (
    tenant text   not null,
    entity text   not null,
    after  bigint not null,
    upto   bigint not null,
    cursor bigint not null,
    primary key (tenant, entity, after)
);
comment on table cw_sync.id_range is
    'Ranges of ids (after, upto] that an open pass still has to read beside its tail, each with its own cursor';

create table cw_sync.parent_read (
    tenant    text        not null,
    entity    text        not null,
    parent_id bigint      not null,
    read_at   timestamptz not null,
    primary key (tenant, entity, parent_id)
);
comment on table cw_sync.parent_read is
    'When each parent''s children were last read whole, for lists that can only be read parent by parent';

create table cw_sync.run (
    run_id            bigint generated always as identity primary key,
    tenant            text        not null,
    dagster_run_id    text,
    entity            text        not null,
    kind              text        not null,
    started_at        timestamptz not null default now(),
    finished_at       timestamptz,
    status            text        not null default 'started',
    requests          bigint      not null default 0,
    retries           bigint      not null default 0,
    throttled_seconds numeric     not null default 0,
    pages             bigint      not null default 0,
    rows_read         bigint      not null default 0,
    rows_inserted     bigint      not null default 0,
    rows_updated      bigint      not null default 0,
    rows_unchanged    bigint      not null default 0,
    rows_deleted      bigint      not null default 0,
    rows_healed       bigint      not null default 0,
    dead_letters      bigint      not null default 0,
    error             text
);
create index run_entity on cw_sync.run (tenant, entity, run_id desc);
comment on table cw_sync.run is
    'One row for each run of each entity. rows_read = rows_inserted + rows_updated + rows_unchanged + dead_letters';

create table cw_sync.dead_letter (
    id          bigint generated always as identity primary key,
    tenant      text        not null,
    entity      text        not null,
    record_id   bigint,
    parent_id   bigint,
    request     text        not null default '',
    payload     jsonb,
    reason      text        not null,
    detail      text        not null default '',
    attempts    integer     not null default 1,
    first_seen  timestamptz not null default now(),
    last_seen   timestamptz not null default now(),
    retry_at    timestamptz,
    resolved_at timestamptz,
    resolution  text,
    run_id      bigint
);
create unique index dead_letter_open on cw_sync.dead_letter
    (tenant, entity, record_id, parent_id, md5(coalesce(payload::text, ''))) nulls not distinct
    where resolved_at is null and record_id is null;
create unique index dead_letter_open_record on cw_sync.dead_letter
    (tenant, entity, record_id, parent_id) nulls not distinct
    where resolved_at is null and record_id is not null;
comment on table cw_sync.dead_letter is
    'What could not be loaded, whole, with its reason. Open until resolved_at is set';

create table cw_sync.dead_letter_event (
    id        bigint generated always as identity primary key,
    letter_id bigint      not null references cw_sync.dead_letter on delete cascade,
    at        timestamptz not null default now(),
    what      text        not null,
    detail    text        not null default ''
);
create index dead_letter_event_letter on cw_sync.dead_letter_event (letter_id);
comment on table cw_sync.dead_letter_event is 'The history of each dead letter';

-- A trigger, so that no way of changing a dead letter can forget its history.
create function cw_sync.note_dead_letter() returns trigger language plpgsql as $$
begin
    insert into cw_sync.dead_letter_event (letter_id, what, detail)
    values (
        new.id,
        case when tg_op = 'INSERT' then 'buried'
             when new.resolved_at is not null and old.resolved_at is null then 'resolved'
             else 'tried again' end,
        case when new.resolved_at is not null then coalesce(new.resolution, '')
             else new.reason || ': ' || new.detail end
    );
    return null;
end $$;
create trigger dead_letter_history after insert or update on cw_sync.dead_letter
    for each row execute function cw_sync.note_dead_letter();

create table cw_sync.capability (
    tenant       text        not null,
    entity       text        not null,
    readable     boolean,
    count        boolean,
    filterable   boolean,
    forward_only boolean,
    by_id        boolean,
    checked_at   timestamptz not null default now(),
    detail       text        not null default '',
    primary key (tenant, entity)
);
comment on table cw_sync.capability is
    'What each list was seen to do, which counts for more than what its documentation says. Null: not seen yet';

create table cw_sync.audit (
    id             bigint generated always as identity primary key,
    tenant         text        not null,
    entity         text        not null,
    kind           text        not null default 'reconcile',
    at             timestamptz not null default now(),
    source_rows    bigint,
    warehouse_rows bigint,
    missing        bigint      not null default 0,
    stale          bigint      not null default 0,
    extra          bigint      not null default 0,
    healed         bigint      not null default 0,
    deleted        bigint      not null default 0,
    drift          bigint      not null default 0,
    proven         boolean     not null default false,
    detail         text        not null default ''
);
create index audit_entity on cw_sync.audit (tenant, entity, at desc);
comment on table cw_sync.audit is
    'What each reconcile and each re-read found. proven: at that time the table held what the list held. drift: rows that differed although lastUpdated had not moved';

create table cw_sync.reread (
    tenant     text        not null,
    entity     text        not null,
    cursor     bigint      not null default 0,
    updated_at timestamptz not null default now(),
    primary key (tenant, entity)
);
comment on table cw_sync.reread is 'How far the rotating re-read of each entity has come';

create table cw_sync.source_count (
    tenant         text        not null,
    entity         text        not null,
    at             timestamptz not null default now(),
    source_rows    bigint      not null,
    warehouse_rows bigint      not null,
    primary key (tenant, entity)
);
comment on table cw_sync.source_count is
    'What /count last said beside the live rows of the table: a cheap alarm, never a proof';

create table cw_sync.delete_candidate (
    tenant    text        not null,
    entity    text        not null,
    record_id bigint      not null,
    parent_id bigint      not null default 0,
    seen_at   timestamptz not null default now(),
    reason    text        not null,
    primary key (tenant, entity, parent_id, record_id)
);
comment on table cw_sync.delete_candidate is
    'Records the source no longer lists and that the delete guard kept: nothing was deleted';

create table cw_sync.column_drift (
    tenant     text        not null,
    entity     text        not null,
    "column"   text        not null,
    change     text        not null,
    first_seen timestamptz not null default now(),
    last_seen  timestamptz not null default now(),
    sample     text        not null default '',
    primary key (tenant, entity, "column", change)
);
comment on table cw_sync.column_drift is
    'Fields that came back and that the catalog does not know (kept in _extra), and values that had to be mended';

create table cw_sync.request_budget (
    tenant       text primary key,
    next_free    timestamptz not null,
    paused_until timestamptz not null default '-infinity'
);
comment on table cw_sync.request_budget is
    'The tenant''s request budget, shared by all processes: when the next request not yet given away may be sent';

create view cw_sync.freshness as
select c.tenant,
       c.entity,
       c.watermark         as data_complete_through,
       now() - c.watermark as age,
       latest.status       as last_status
from cw_sync.checkpoint c
left join lateral (
    select r.status from cw_sync.run r
    where r.tenant = c.tenant and r.entity = c.entity
    order by r.run_id desc limit 1
) latest on true;
comment on view cw_sync.freshness is 'Per entity: everything that changed up to data_complete_through is in the warehouse';

create view cw_sync.open_dead_letter as
select id, tenant, entity, record_id, parent_id, reason, detail, attempts, first_seen, last_seen, retry_at, request
from cw_sync.dead_letter
where resolved_at is null;
comment on view cw_sync.open_dead_letter is 'What is not in the warehouse, and why';
