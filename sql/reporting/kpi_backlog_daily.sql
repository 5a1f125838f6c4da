-- One row per local day, board and age: tickets open at the end of the day, for the last 400 full days.
-- Service tickets only, merged ones left out. Sources: fct_ticket_daily,
-- service/boards.
select
    d.date as date, -- local day
    d.date_id as date_id, -- the same, in dim_date
    d.board_id as board_id, -- board that day
    case when d.age_days <= 1 then '0-1' when d.age_days <= 7 then '2-7' when d.age_days <= 30 then '8-30' else '31+' end as age_bucket, -- days since they came in: 0-1, 2-7, 8-30 or 31+
    count(*) as tickets_open, -- open at the end of the day
    sum(d.age_days) as age_days, -- sum of their ages, for averages
    max(coalesce(location.id, -1)) as location_id, -- our location, the board's
    max(coalesce(department.id, -1)) as department_id -- our department, the board's
from {{reporting}}.fct_ticket_daily d
left join {{source}}.service_boards b on b.id = d.board_id
left join {{source}}.system_locations location on location.id = b.location_id
left join {{source}}.system_departments department on department.id = b.department_id
where d.record_type = 'ServiceTicket'
group by 1, 2, 3, 4
