-- Which lists the settings keep up to date.

-- A list that is taken out of CW_ENTITIES is no longer kept up to date. Its rows stay, but how old
-- they are must not stand for all.
alter table cw_sync.checkpoint add column wanted boolean not null default true;
comment on column cw_sync.checkpoint.wanted is 'Whether the settings keep this list up to date, as of the last sync or migration';

create or replace view cw_sync.freshness as
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
) latest on true
where c.wanted;
