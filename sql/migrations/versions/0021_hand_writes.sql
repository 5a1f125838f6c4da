-- Rows that somebody puts in by hand, or changes with triggers off, are found, too.

-- What 0017 left: rows that are put in by hand, TRUNCATE, and `session_replication_role = replica`.
-- Statement triggers without transition tables: a COPY of ours keeps its batches and copies nothing
-- twice. Rows of the present transaction have its number or a later one, a savepoint's.
create function cw_sync.note_hand_writes() returns trigger language plpgsql
    security definer set search_path = pg_catalog, pg_temp as $$
declare
    written constant text := 'age(xmin) <= age(pg_current_xact_id()::xid)';
begin
    if tg_op = 'TRUNCATE' then
        execute format('update %%I.%%I set _row_hash = 0 where _row_hash <> 0', tg_table_schema, tg_argv[0]);
    elsif tg_nargs = 0 then
        execute format('update %%s set _row_hash = 0 where _row_hash <> 0 and %%s', tg_relid::regclass, written);
    else
        execute format('update %%I.%%I set _row_hash = 0 where _row_hash <> 0'
            ' and %%I in (select parent_id from %%s where %%s)',
            tg_table_schema, tg_argv[0], tg_argv[1], tg_relid::regclass, written);
    end if;
    return null;
end $$;
comment on function cw_sync.note_hand_writes() is 'Marks rows that somebody else than the pipeline puts in, and records whose elements are put in or emptied';

create or replace function cw_sync.watch_rows(own regclass) returns void language plpgsql as $$
begin
    execute format('create or replace trigger hand_edit before update on %%s for each row'
        ' when (current_setting(''cw_pipeline.writes'', true) is distinct from ''on'')'
        ' execute function cw_sync.note_hand_edit()', own);
    execute format('create or replace trigger hand_write after insert on %%s for each statement'
        ' when (current_setting(''cw_pipeline.writes'', true) is distinct from ''on'')'
        ' execute function cw_sync.note_hand_writes()', own);
    execute format('alter table %%s enable always trigger hand_edit, enable always trigger hand_write', own);
end $$;

create or replace function cw_sync.watch_elements(own regclass, parent text, key text) returns void language plpgsql as $$
begin
    execute format('create or replace trigger hand_edit after update or delete on %%s for each row'
        ' when (current_setting(''cw_pipeline.writes'', true) is distinct from ''on'')'
        ' execute function cw_sync.note_hand_edit_of_element(%%L, %%L)', own, parent, key);
    execute format('create or replace trigger hand_write after insert or truncate on %%s for each statement'
        ' when (current_setting(''cw_pipeline.writes'', true) is distinct from ''on'')'
        ' execute function cw_sync.note_hand_writes(%%L, %%L)', own, parent, key);
    execute format('alter table %%s enable always trigger hand_edit, enable always trigger hand_write', own);
end $$;

create function cw_sync.is_watched(own regclass) returns boolean language sql stable as $$
    select count(*) = 2 from pg_catalog.pg_trigger
    where tgrelid = own and tgname in ('hand_edit', 'hand_write') and tgenabled = 'A'
$$;
comment on function cw_sync.is_watched(regclass) is 'Whether changes by hand are seen. Not after `disable trigger all`, as `pg_restore --disable-triggers` does it: that cannot be undone without a trace';

do $$
declare
    own record;
begin
    for own in
        select tgrelid::regclass as name, tgnargs, string_to_array(encode(tgargs, 'escape'), '\000') as names
        from pg_trigger
        where tgname = 'hand_edit'
            and tgfoid in ('cw_sync.note_hand_edit'::regproc, 'cw_sync.note_hand_edit_of_element'::regproc)
    loop
        if own.tgnargs = 0 then
            perform cw_sync.watch_rows(own.name);
        else
            perform cw_sync.watch_elements(own.name, own.names[1], own.names[2]);
        end if;
    end loop;
end $$;
