-- Rows that somebody changes by hand are marked, and read again.

-- A row that was changed by hand keeps its id, its lastUpdated and its hashes: it would be proven and
-- never read again. This marks it. The pipeline's own sessions say that it is they who write.
create function cw_sync.note_hand_edit() returns trigger language plpgsql as $$
begin
    new._row_hash := 0;
    return new;
end $$;
comment on function cw_sync.note_hand_edit() is 'Marks a row that somebody else than the pipeline changes, so that the next reconcile reads its record again';

-- Whoever may change an element need not have the right to change its record.
create function cw_sync.note_hand_edit_of_element() returns trigger language plpgsql
    security definer set search_path = pg_catalog, pg_temp as $$
begin
    execute format('update %%I.%%I set _row_hash = 0 where %%I = $1', tg_table_schema, tg_argv[0], tg_argv[1])
    using old.parent_id;
    return null;
end $$;
comment on function cw_sync.note_hand_edit_of_element() is 'The same for the record whose element, a row of an array''s table, is changed or deleted';

create function cw_sync.watch_rows(own regclass) returns void language plpgsql as $$
begin
    execute format('create or replace trigger hand_edit before update on %%s for each row'
        ' when (current_setting(''cw_pipeline.writes'', true) is distinct from ''on'')'
        ' execute function cw_sync.note_hand_edit()', own);
end $$;

create function cw_sync.watch_elements(own regclass, parent text, key text) returns void language plpgsql as $$
begin
    execute format('create or replace trigger hand_edit after update or delete on %%s for each row'
        ' when (current_setting(''cw_pipeline.writes'', true) is distinct from ''on'')'
        ' execute function cw_sync.note_hand_edit_of_element(%%L, %%L)', own, parent, key);
end $$;

do $$
declare
    own record;
begin
    for own in
        with stored as (
            select c.oid, c.relname, n.nspname, array_agg(a.attname) as columns
            from pg_class c
            join pg_namespace n on n.oid = c.relnamespace
            join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            where c.relkind = 'r' and c.relname not like 'report\_%%'
                and n.nspname in (select schema from cw_sync.schema_owner
                    union select tenant from cw_sync.history_column)
            group by c.oid, c.relname, n.nspname
        ), entities as (
            select s.*, (
                select a.attname from pg_index i
                join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[i.indnkeyatts - 1]
                where i.indrelid = s.oid and i.indisprimary
            ) as key
            from stored s where '_row_hash' = any(s.columns) and '_deleted_at' = any(s.columns)
        )
        select e.oid, null as parent, null as key from entities e
        union all
        select s.oid, e.relname, e.key from stored s
        join lateral (
            select * from entities e
            where e.nspname = s.nspname and starts_with(s.relname, e.relname || '__')
            order by length(e.relname) desc limit 1
        ) e on true
        where not '_row_hash' = any(s.columns) and '{parent_id,position}'::name[] <@ s.columns
    loop
        if own.parent is null then
            perform cw_sync.watch_rows(own.oid);
        else
            perform cw_sync.watch_elements(own.oid, own.parent, own.key);
        end if;
    end loop;
end $$;
