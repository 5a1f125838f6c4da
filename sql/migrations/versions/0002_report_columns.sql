-- What changed in the columns of reports, and when.

-- The columns themselves are in the tenant's schema, table report_columns.
create table cw_sync.report_drift (
    id       bigint generated always as identity primary key,
    tenant   text        not null,
    report   text        not null,
    "column" text        not null,
    change   text        not null,
    was      text        not null default '',
    now      text        not null default '',
    seen_at  timestamptz not null default now()
);
create index report_drift_report on cw_sync.report_drift (tenant, report, seen_at desc);
comment on table cw_sync.report_drift is
    'Columns of reports that were added, removed or retyped since they were first seen';
