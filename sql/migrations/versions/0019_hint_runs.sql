-- What was read because of callbacks says nothing of how a list's last pass ended.

-- Runs of the kind `hint` read single records: one that went well must not hide a pass that failed.
create or replace view cw_sync.freshness as
select c.tenant,
       c.entity,
       c.watermark         as data_complete_through,
       now() - c.watermark as age,
       latest.status       as last_status
from cw_sync.checkpoint c
left join lateral (
    select r.status from cw_sync.run r
    where r.tenant = c.tenant and r.entity = c.entity and r.kind <> 'hint'
    order by r.run_id desc limit 1
) latest on true
where c.wanted;
