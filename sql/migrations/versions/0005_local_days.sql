-- The time zone that the local days of a tenant's reports follow.

-- Refreshing a table must use the time zone that it was published with.
alter table cw_sync.publication add column time_zone text not null default 'UTC';
