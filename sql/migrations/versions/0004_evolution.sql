-- What the warehouse has learned that the catalog does not say: promoted and custom fields.

-- Fields of records that became columns, the names of custom fields' columns, and what is private.
create table cw_sync.promoted_column (
    tenant      text        not null,
    entity      text        not null,
    path        text[]      not null,
    column_name text        not null,
    kind        text        not null,
    promoted_at timestamptz not null default now(),
    primary key (tenant, entity, path)
);
comment on table cw_sync.promoted_column is
    'Fields that the catalog does not know and that became columns here. Every process adds them to the entity';

create table cw_sync.custom_field_column (
    tenant      text        not null,
    entity      text        not null,
    field_id    bigint      not null,
    kind        text        not null,
    position    integer     not null,
    column_name text        not null,
    caption     text        not null,
    type        text        not null,
    first_seen  timestamptz not null default now(),
    primary key (tenant, entity, field_id, kind),
    unique (tenant, entity, column_name),
    unique (tenant, entity, position)
);
comment on table cw_sync.custom_field_column is
    'The columns of each entity''s view of its custom fields. A name, once given, stays; a field that changes its type gets a second column';

create table cw_sync.custom_field_scan (
    tenant     text        not null,
    entity     text        not null,
    scanned_at timestamptz not null,
    primary key (tenant, entity)
);
comment on table cw_sync.custom_field_scan is
    'Custom fields of records synced before scanned_at have their columns';

create table cw_sync.private_column (
    tenant      text        not null,
    table_name  text        not null,
    column_name text        not null,
    how         text        not null check (how in ('hashed', 'dropped')),
    since       timestamptz not null default now(),
    primary key (tenant, table_name, column_name)
);
comment on table cw_sync.private_column is
    'Columns whose values are hashed or dropped before they are stored, and since when';

create table cw_sync.report_table (
    tenant        text not null,
    report        text not null,
    key_column    text,
    read_whole_at timestamptz,
    primary key (tenant, report)
);
comment on table cw_sync.report_table is
    'Reports kept as tables: the column that tells rows apart (null: none does, so it is read whole each time), and when it was last read whole';

-- What a JSON value is as each type, null where it is not: the same rules as the decoder's.
create function cw_sync.to_numeric(v jsonb) returns numeric language sql immutable parallel safe as $$
    select case jsonb_typeof(v)
        when 'number' then v::numeric
        when 'string' then case when v #>> '{}' ~ '^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?$'
                                then (v #>> '{}')::numeric end
    end
$$;

create function cw_sync.to_bigint(v jsonb) returns bigint language sql immutable parallel safe as $$
    select case when jsonb_typeof(v) = 'number' then
        case when v::numeric = trunc(v::numeric)
              and v::numeric between -9223372036854775808 and 9223372036854775807
             then v::numeric::bigint end
    end
$$;

create function cw_sync.to_boolean(v jsonb) returns boolean language sql immutable parallel safe as $$
    select case when jsonb_typeof(v) = 'boolean' then v::boolean end
$$;

create function cw_sync.to_flag(v jsonb) returns boolean language sql immutable parallel safe as $$
    select case lower(v #>> '{}') when 'true' then true when 'false' then false end
$$;
comment on function cw_sync.to_flag(jsonb) is 'Like to_boolean; lists of custom fields say true and false in text';

-- A day that the calendar has, or null: no error may come out of a view.
create function cw_sync.to_day(v jsonb) returns date language sql immutable parallel safe as $$
    select case when v #>> '{}' ~
        '^(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(T([01]\d|2[0-3]):[0-5]\d:[0-5]\d([.,]\d+)?(Z|[-+]([01]\d|2[0-3]):?[0-5]\d)?)?$'
    then case when substr(v #>> '{}', 9, 2)::int <= extract(day from
            make_date(substr(v #>> '{}', 1, 4)::int, substr(v #>> '{}', 6, 2)::int, 1)
            + interval '1 month - 1 day')
         then make_date(substr(v #>> '{}', 1, 4)::int, substr(v #>> '{}', 6, 2)::int,
                        substr(v #>> '{}', 9, 2)::int) end
    end
$$;
comment on function cw_sync.to_day(jsonb) is 'The day as written, whatever its time of day and zone';

create function cw_sync.is_day(v jsonb) returns boolean language sql immutable parallel safe as $$
    select substr(v #>> '{}', 11) in ('', 'T00:00:00Z') and cw_sync.to_day(v) is not null
$$;

create function cw_sync.to_instant(v jsonb) returns timestamptz language sql stable parallel safe as $$
    select case
        when cw_sync.to_day(v) is null then null
        when v #>> '{}' ~ '(Z|T.*[-+]\d\d:?\d\d)$' then replace(v #>> '{}', ',', '.')::timestamptz
        else replace(v #>> '{}', ',', '.')::timestamp at time zone 'UTC'
    end
$$;

create function cw_sync.to_scalar_text(v jsonb) returns text language sql immutable parallel safe as $$
    select case when jsonb_typeof(v) in ('string', 'number', 'boolean') then v #>> '{}' end
$$;
