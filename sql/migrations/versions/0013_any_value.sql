-- Functions of views that take any value, and that need no right of who reads the view.

-- No error may come out of a view. The bodies are parsed here, once: as text, PostgreSQL would parse
-- them when a reader evaluates a view, with the reader's settings and the reader's rights, and who
-- may not use this schema could not read what calls one of these from another.
create or replace function cw_sync.to_numeric(v jsonb) returns numeric language sql immutable parallel safe
return case jsonb_typeof(v)
    when 'number' then v::numeric
    -- A longer text is none of a number, and one of 140,000 digits is beyond numeric.
    when 'string' then case when length(v #>> '{}') <= 1000 then
        case when v #>> '{}' ~ '^[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]{1,3})?$'
             then (v #>> '{}')::numeric end end
end;

create or replace function cw_sync.to_bigint(v jsonb) returns bigint language sql immutable parallel safe
return case when jsonb_typeof(v) = 'number' then
    case when v::numeric = trunc(v::numeric)
          and v::numeric between -9223372036854775808 and 9223372036854775807
         then v::numeric::bigint end
end;

create or replace function cw_sync.to_boolean(v jsonb) returns boolean language sql immutable parallel safe
return case when jsonb_typeof(v) = 'boolean' then v::boolean end;

create or replace function cw_sync.to_flag(v jsonb) returns boolean language sql immutable parallel safe
return case lower(v #>> '{}') when 'true' then true when 'false' then false end;

create or replace function cw_sync.to_day(v jsonb) returns date language sql immutable parallel safe
return case when v #>> '{}' ~
    '^(?!0000)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.,][0-9]+)?(Z|[-+]([01][0-9]|2[0-3]):?[0-5][0-9])?)?$'
then case when substr(v #>> '{}', 9, 2)::int <= extract(day from
        make_date(substr(v #>> '{}', 1, 4)::int, substr(v #>> '{}', 6, 2)::int, 1)
        + interval '1 month' - interval '1 day')
     then make_date(substr(v #>> '{}', 1, 4)::int, substr(v #>> '{}', 6, 2)::int,
                    substr(v #>> '{}', 9, 2)::int) end
end;

create or replace function cw_sync.is_day(v jsonb) returns boolean language sql immutable parallel safe
return substr(v #>> '{}', 11) in ('', 'T00:00:00Z') and cw_sync.to_day(v) is not null;

create or replace function cw_sync.to_instant(v jsonb) returns timestamptz language sql stable parallel safe
begin atomic
    -- PostgreSQL takes offsets up to 15:59 and 128 letters; a record may have any.
    select case when at between timestamptz '0001-01-01 00:00:00+00' and timestamptz '9999-12-31 23:59:59.999999+00'
                then at end
    from (
        select (cw_sync.to_day(v)
                + coalesce(nullif(substr(v #>> '{}', 12, 8), '')::time, time '00:00')
                + coalesce(left('0.' || substring(v #>> '{}' from '[.,]([0-9]+)'), 15)::numeric::double precision, 0)
                  * interval '1 second'
                - coalesce((substring(v #>> '{}' from 'T.*([-+][0-9]{2}):?[0-9]{2}$') || ':'
                            || substring(v #>> '{}' from 'T.*[-+][0-9]{2}:?([0-9]{2})$'))::interval, interval '0')
               ) at time zone 'UTC' as at
        where cw_sync.to_day(v) is not null
    ) read;
end;

create or replace function cw_sync.to_scalar_text(v jsonb) returns text language sql immutable parallel safe
return case when jsonb_typeof(v) in ('string', 'number', 'boolean') then v #>> '{}' end;
