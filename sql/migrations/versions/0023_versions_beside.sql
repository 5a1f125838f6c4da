-- Versions are beside the entities' tables, no longer in a schema of their own.

-- Only development versions of 0.2 made such schemas: `cw_history`, or `<schema>_history`. They stay,
-- empty, because this role may not own them.
do $$
declare
    own record;
begin
    for own in
        select o.schema, n.nspname as past, c.relname as name, c.relname || '__versions' as versions
        from cw_sync.schema_owner o
        join pg_namespace n on n.nspname = case o.schema
            when 'connectwise' then 'cw_history' when 'cw' then 'cw__history' else o.schema || '_history' end
        join pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'p')
        join pg_attribute a on a.attrelid = c.oid and a.attname = '_next_from' and not a.attisdropped
        where length(c.relname) <= 53 and to_regclass(format('%%I.%%I', o.schema, c.relname || '__versions')) is null
    loop
        execute format('alter table %%I.%%I rename to %%I', own.past, own.name, own.versions);
        execute format('alter table %%I.%%I set schema %%I', own.past, own.versions, own.schema);
    end loop;
end $$;
