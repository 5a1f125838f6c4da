-- What keeps row counts right without counting a table anew.

-- Counting a million rows takes seconds and, after a load, rewrites every page of the table.
create table cw_sync.row_change (
    tenant text   not null,
    entity text   not null,
    change bigint not null
);
create index row_change_entity on cw_sync.row_change (tenant, entity);
comment on table cw_sync.row_change is
    'By how many live rows tables have grown since checkpoint.row_count was written';
