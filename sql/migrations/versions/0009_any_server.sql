-- What made the warehouse depend on how its server, its roles and its readers are set up.

-- The comment of the schema said so until now. Only a schema's owner may comment on it, and it may
-- have been made by an administrator.
create table cw_sync.schema_owner (
    schema text not null primary key,
    tenant text not null
);
comment on table cw_sync.schema_owner is 'Which ConnectWise tenant (company@host) a schema holds';

insert into cw_sync.schema_owner (schema, tenant)
select nspname, rtrim(substring(obj_description(oid, 'pg_namespace') from '^ConnectWise tenant ([^ ]+)'), ',')
from pg_namespace
where obj_description(oid, 'pg_namespace') ~ '^ConnectWise tenant [^ ]';

-- PostgreSQL parses these each time a reader evaluates a view, with the reader's settings: under
-- standard_conforming_strings = off a backslash vanishes, and under IntervalStyle = sql_standard the
-- sign of an interval's first part stands for all. So they have neither.
create or replace function cw_sync.to_numeric(v jsonb) returns numeric language sql immutable parallel safe as $$
    select case jsonb_typeof(v)
        when 'number' then v::numeric
        when 'string' then case when v #>> '{}' ~ '^[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]{1,3})?$'
                                then (v #>> '{}')::numeric end
    end
$$;

create or replace function cw_sync.to_day(v jsonb) returns date language sql immutable parallel safe as $$
    select case when v #>> '{}' ~
        '^(?!0000)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.,][0-9]+)?(Z|[-+]([01][0-9]|2[0-3]):?[0-5][0-9])?)?$'
    then case when substr(v #>> '{}', 9, 2)::int <= extract(day from
            make_date(substr(v #>> '{}', 1, 4)::int, substr(v #>> '{}', 6, 2)::int, 1)
            + interval '1 month' - interval '1 day')
         then make_date(substr(v #>> '{}', 1, 4)::int, substr(v #>> '{}', 6, 2)::int,
                        substr(v #>> '{}', 9, 2)::int) end
    end
$$;

create or replace function cw_sync.to_instant(v jsonb) returns timestamptz language sql stable parallel safe as $$
    select case
        when cw_sync.to_day(v) is null then null
        when v #>> '{}' ~ '(Z|T.*[-+][0-9]{2}:?[0-9]{2})$' then replace(v #>> '{}', ',', '.')::timestamptz
        else replace(v #>> '{}', ',', '.')::timestamp at time zone 'UTC'
    end
$$;

-- Ids are ConnectWise's: nothing here counts them up. Whoever wrote a row without one got a number
-- that a record of the tenant may have.
do $$
declare
    own record;
begin
    for own in
        select t.oid::regclass as name, a.attname as id, s.oid::regclass as counter
        from pg_depend d
        join pg_class s on s.oid = d.objid and s.relkind = 'S'
        join pg_class t on t.oid = d.refobjid
        join pg_attribute a on a.attrelid = t.oid and a.attnum = d.refobjsubid
        where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass
          and d.deptype = 'a' and a.attname = 'id'
          and exists (select from pg_attribute r where r.attrelid = t.oid and r.attname = '_row_hash')
    loop
        execute 'alter table ' || own.name || ' alter column ' || quote_ident(own.id) || ' drop default';
        execute 'drop sequence ' || own.counter;
    end loop;
end $$;
