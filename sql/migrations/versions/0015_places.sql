-- Facts that older versions of ConnectWise keep at another place go to the column they have.

-- What came at a place that the catalog did not know is in _extra. Where its column is empty it goes
-- there; a record that is read again is rewritten once for it.
do $$
declare
    own record;
begin
    for own in
        select t.oid::regclass as name, a.attname as col, f.path,
            case a.atttypid when 'timestamptz'::regtype then 'cw_sync.to_instant'
                else 'cw_sync.to_scalar_text' end as typed
        from (values
            ('date_entered', '{dateEntered}'::text[]), ('date_entered', '{_info,dateEntered}'),
            ('entered_by', '{enteredBy}'), ('entered_by', '{_info,enteredBy}'),
            ('last_updated', '{lastUpdated}'), ('last_updated', '{_info,lastUpdated}'),
            ('updated_by', '{updatedBy}'), ('updated_by', '{_info,updatedBy}')
        ) f (col, path)
        join pg_attribute a on a.attname = f.col and not a.attisdropped
            and a.atttypid in ('timestamptz'::regtype, 'text'::regtype)
        join pg_class t on t.oid = a.attrelid and t.relkind = 'r'
        join pg_namespace n on n.oid = t.relnamespace
        where n.nspname in (select schema from cw_sync.schema_owner union select tenant from cw_sync.checkpoint)
          and exists (select from pg_attribute h where h.attrelid = t.oid and h.attname = '_source_hash')
    loop
        execute replace(replace(replace($sql$
            update own_table set own_column = typed, _extra = nullif(
                case when less->'_info' = '{}' then less - '_info' else less end, '{}')
            from (select r.ctid as at, typed_value as typed, _extra #- path as less
                  from own_table r cross join (select $1::text[] as path) p
                  where own_column is null and _extra #> path is not null) f
            where own_table.ctid = f.at and typed is not null
            $sql$, 'own_table', own.name::text), 'own_column', quote_ident(own.col)),
            'typed_value', own.typed || '(_extra #> path)')
        using own.path;
    end loop;
end $$;
