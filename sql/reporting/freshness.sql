-- One row per view of this schema: how old the oldest of what it shows is. Source: the checkpoints of
-- the entities it reads, and of the tables on the way, the time they were last refreshed.
select
    p.name as name, -- view or table
    p.is_table as is_table, -- kept as a table, and so as of its latest refresh
    case when p.is_table then p.complete_through else least(min(f.data_complete_through), p.through_tables) end as data_complete_through, -- every change in ConnectWise up to then is in it; empty: nothing it reads was ever synced
    now() - case when p.is_table then p.complete_through else least(min(f.data_complete_through), p.through_tables) end as age, -- since then
    p.refreshed_at as refreshed_at, -- latest refresh, of tables
    array_agg(f.entity order by f.entity) filter (where f.data_complete_through is not null) as entities, -- what it reads in ConnectWise
    array_agg(e.entity order by e.entity) filter (where f.data_complete_through is null and e.entity is not null) as missing_entities, -- of what it reads, not kept up to date: never synced, so these parts are empty, or no longer named by CW_ENTITIES, so they are old
    greatest(max(f.last_hint_at) filter (where not p.is_table or f.last_hint_at <= p.refreshed_at), p.hint_through_tables) as last_hint_at, -- when records that callbacks named were last read of what it shows
    case
        when greatest(max(f.last_hint_at) filter (where not p.is_table or f.last_hint_at <= p.refreshed_at), p.hint_through_tables) > case when p.is_table then p.complete_through else least(min(f.data_complete_through), p.through_tables) end then 'hint'
        when case when p.is_table then p.complete_through else least(min(f.data_complete_through), p.through_tables) end is not null then 'pass'
    end as newest_by -- what brought the newest of it: hint (a callback named the record) or pass (all that changed was read)
from (
    select
        o.*,
        (select min(t.complete_through) from cw_sync.publication t where t.tenant = o.tenant and t.name = any(o.tables)) as through_tables,
        (
            select max(c.hint_at)
            from cw_sync.publication t
            join cw_sync.publication u on u.tenant = t.tenant and (u.name = t.name or u.name = any(t.tables))
            join cw_sync.checkpoint c on c.tenant = u.tenant and c.entity = any(u.entities)
            where t.tenant = o.tenant and t.name = any(o.tables) and c.hint_at <= t.refreshed_at
        ) as hint_through_tables
    from cw_sync.publication o
    where o.tenant = {{tenant}}
) p
left join lateral unnest(p.entities) e(entity) on true
left join cw_sync.freshness f on f.tenant = p.tenant and f.entity = e.entity
group by p.name, p.is_table, p.complete_through, p.through_tables, p.refreshed_at, p.hint_through_tables
