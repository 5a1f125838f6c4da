-- index: entry_block
select entry_block from {{reporting}}.fct_time_entry_all where changed_at > {{since}}
union
-- members who have just come
select entry_block from {{reporting}}.kpi_time_entry_check_all
where exists (select from {{source}}.system_members where _synced_at >= {{since}})
