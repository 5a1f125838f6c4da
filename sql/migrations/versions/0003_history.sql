-- History: values that records had before, and what is published for reporting.

-- What records used to say, and what reporting is made of.
create table cw_sync.history_column (
    tenant      text        not null,
    entity      text        not null,
    column_name text        not null,
    since       timestamptz not null default now(),
    primary key (tenant, entity, column_name)
);
comment on table cw_sync.history_column is
    'Columns whose changes are kept in history, and since when';

create table cw_sync.history (
    history_id  bigint generated always as identity primary key,
    tenant      text        not null,
    entity      text        not null,
    record_id   bigint      not null,
    parent_id   bigint      not null default 0,
    column_name text        not null,
    value       text,
    valid_from  timestamptz,
    valid_to    timestamptz not null,
    recorded_at timestamptz not null default now()
);
create index history_record on cw_sync.history
    (tenant, entity, record_id, column_name, valid_to);
create index history_recorded on cw_sync.history (tenant, entity, column_name, recorded_at);
comment on table cw_sync.history is
    'Values that are over: the record had value from valid_from (null: since before it was watched) until valid_to. The present value is in the entity''s own table, valid since the latest valid_to. Written in the transaction of the merge that replaced it';

create table cw_sync.publication (
    tenant           text    not null,
    name             text    not null,
    digest           text    not null,
    is_table         boolean not null,
    entities         text[]  not null,
    tables           text[]  not null,
    refreshed_at     timestamptz,
    changed_through  timestamptz,
    complete_through timestamptz,
    primary key (tenant, name)
);
comment on table cw_sync.publication is
    'Views and tables of the tenant''s reporting schema as published. Of a table: when it was last refreshed, the rows synced before changed_through are in it, and so is every change in ConnectWise up to complete_through';
