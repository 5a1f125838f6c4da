-- When a callback last brought something of an entity, beside its watermark.

-- A hint never moves the watermark, so how new an entity is takes two times to say.
alter table cw_sync.checkpoint add column hint_at timestamptz;
comment on column cw_sync.checkpoint.hint_at is
    'When records that callbacks named were last read; those, and nothing else, are newer than the watermark says';

create or replace view cw_sync.freshness as
select c.tenant,
       c.entity,
       c.watermark         as data_complete_through,
       now() - c.watermark as age,
       latest.status       as last_status,
       c.hint_at           as last_hint_at
from cw_sync.checkpoint c
left join lateral (
    select r.status from cw_sync.run r
    where r.tenant = c.tenant and r.entity = c.entity and r.kind <> 'hint'
    order by r.run_id desc limit 1
) latest on true
where c.wanted;
