-- What finds the runs whose process was killed.

-- The few runs that are not over are looked up whenever one starts.
create index run_started on cw_sync.run (tenant, entity) where status = 'started';
