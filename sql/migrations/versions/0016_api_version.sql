-- In which version of the API each run has asked.

-- CW_API_VERSION may name one for each list, and changes: what a run read depends on it.
alter table cw_sync.run add column api_version text;
comment on column cw_sync.run.api_version is 'The version of the API that the list was asked in; null of runs before it was noted';
