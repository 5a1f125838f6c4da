-- What a run reads and writes of its entity, by name: `entity_store.py` runs these.
--
-- {schema}, {table}, {key}: identifiers of the entity's table; {other}: another one, of its parent or
-- of one of its arrays; {outer_id}: of its parent, the id of what that is below.
-- cw_sync.fence(run) ends the statement with EntityBusy once another run has the lease. Where it
-- stands in a `with`, every write takes its row, so that nothing is written without it.

-- name: open
-- Everything that a run has to know when it begins. After the lease is taken, by a statement of its
-- own: a statement that also waited for the lease would not see what was committed meanwhile.
select clock_timestamp(), c.watermark, c.watermark_at,
    array[c.step_since, c.step_until], c.pass_since, c.pass_until, c.pass_at, c.cursor,
    (select coalesce(json_agg(json_build_array(r.after, r.upto, r.cursor) order by r.after desc), '[]')
        from cw_sync.id_range r where r.tenant = own.tenant and r.entity = own.entity),
    c.page_size,
    c.row_count + (select coalesce(sum(n.change), 0)
        from cw_sync.row_change n where n.tenant = own.tenant and n.entity = own.entity)::bigint,
    json_build_object('readable', a.readable, 'count', a.count, 'filterable', a.filterable,
        'forward_only', a.forward_only, 'by_id', a.by_id),
    case when a.readable is false and a.checked_at > now() - interval '7 days' then a.detail end,
    not exists (select from cw_sync.source_count s
        where s.tenant = own.tenant and s.entity = own.entity and s.at > now() - interval '1 hour'),
    (select count(*) from cw_sync.dead_letter l
        where l.tenant = own.tenant and l.entity = own.entity and l.resolved_at is null),
    coalesce(c.row_count, 0) = 0 and exists (select from cw_sync.dead_letter l
        where l.tenant = own.tenant and l.entity = own.entity and l.resolution like 'discarded:%%'),
    exists (select from cw_sync.dead_letter l
        where l.tenant = own.tenant and l.entity = own.entity and l.resolved_at is null
            and l.retry_at <= now()),
    exists (select from cw_sync.delete_candidate d
        where d.tenant = own.tenant and d.entity = own.entity),
    (select coalesce(max(r.cursor), 0) from cw_sync.reread r
        where r.tenant = own.tenant and r.entity = own.entity),
    (select coalesce(json_agg(json_build_array(p.column_name, p.path, p.kind)
            order by p.promoted_at, p.path), '[]')
        from cw_sync.promoted_column p where p.tenant = own.tenant and p.entity = own.entity),
    array(select h.column_name from cw_sync.history_column h
        where h.tenant = own.tenant and h.entity = own.entity)
from (select %(tenant)s::text as tenant, %(entity)s::text as entity) own
left join cw_sync.checkpoint c using (tenant, entity)
left join cw_sync.capability a using (tenant, entity)

-- name: is_gone
-- Of dead letters l: that of a record without an id which this run, that has read all, did not bring
-- again. Not one that a run has stored which began later, or goes on beside this one. To this, lists
-- without ids add that the whole read before this one did not bring it either: a read by offset may
-- leave a record out.
l.resolved_at is null and l.record_id is null and l.run_id < %(run_id)s
    and not exists (select from cw_sync.run r where r.run_id = l.run_id and r.finished_at is null)

-- name: close
-- Everything that a run leaves behind when it ends, and its lease. Without the lease only the run's
-- own account is written, which nobody else goes by.
with own as (
    select %(tenant)s::text as tenant, %(entity)s::text as entity, cw_sync.fence(%(run_id)s) as run_id
    where %(has_lease)s
), noted as (
    -- Before the checkpoint, as `sum_rows` does it: two runs would wait for each other else.
    delete from cw_sync.row_change n using own, cw_sync.checkpoint c
    where n.tenant = own.tenant and n.entity = own.entity
        and c.tenant = own.tenant and c.entity = own.entity and c.row_count is not null
    returning n.change
), checkpoint as (
    insert into cw_sync.checkpoint as c
        (tenant, entity, watermark, watermark_at, step_since, step_until, page_size, row_count,
        run_id)
    select own.tenant, own.entity, %(watermark)s::timestamptz, %(watermark_at)s::timestamptz,
        (%(step)s::timestamptz[])[1], (%(step)s::timestamptz[])[2],
        %(page_size)s::integer, (select sum(change) from noted), own.run_id
    from own
    where %(completes)s or exists (select from cw_sync.checkpoint c
        where c.tenant = own.tenant and c.entity = own.entity)
    on conflict (tenant, entity) do update set
        watermark = case when %(completes)s then excluded.watermark else c.watermark end,
        watermark_at = case when %(completes)s then excluded.watermark_at else c.watermark_at end,
        step_since = case when %(completes)s then excluded.step_since else c.step_since end,
        step_until = case when %(completes)s then excluded.step_until else c.step_until end,
        pass_since = case when %(completes)s then null else c.pass_since end,
        pass_until = case when %(completes)s then null else c.pass_until end,
        pass_at = case when %(completes)s then null else c.pass_at end,
        cursor = case when %(completes)s then null else c.cursor end,
        run_id = case when %(completes)s then excluded.run_id else c.run_id end,
        page_size = case when %(resizes)s then excluded.page_size else c.page_size end,
        row_count = c.row_count + coalesce(excluded.row_count, 0),
        updated_at = now()
    returning row_count
), ranges as (
    delete from cw_sync.id_range r using own
    where r.tenant = own.tenant and r.entity = own.entity and %(completes)s
), capability as (
    insert into cw_sync.capability as a
        (tenant, entity, readable, count, filterable, forward_only, by_id, detail)
    select own.tenant, own.entity, l.readable, l.count, l.filterable, l.forward_only, l.by_id,
        coalesce(l.detail, '')
    from own, jsonb_to_record(%(learned)s::jsonb) as l (readable boolean, count boolean,
        filterable boolean, forward_only boolean, by_id boolean, detail text)
    where %(learned)s::jsonb <> '{{}}'
    on conflict (tenant, entity) do update set
        readable = coalesce(excluded.readable, a.readable),
        count = coalesce(excluded.count, a.count),
        filterable = coalesce(excluded.filterable, a.filterable),
        forward_only = coalesce(excluded.forward_only, a.forward_only),
        by_id = coalesce(excluded.by_id, a.by_id),
        detail = case when excluded.readable is null then a.detail else excluded.detail end,
        checked_at = now()
), letters as (
    update cw_sync.dead_letter l set resolved_at = now(),
        resolution = 'the source no longer has the record'
    from own
    where %(read_all)s and l.tenant = own.tenant and l.entity = own.entity and l.parent_id is null
        and {is_gone} and (%(has_id)s or exists (select from cw_sync.run r
            where r.tenant = own.tenant and r.entity = own.entity and r.status = 'done'
                -- With stamps, others may have read a window only.
                and (r.kind = 'full' or r.kind in ('refresh', 'reconcile') and not %(has_stamps)s)
                and r.run_id > l.run_id and r.run_id < %(run_id)s))
), source_count as (
    insert into cw_sync.source_count (tenant, entity, source_rows, warehouse_rows)
    select own.tenant, own.entity, %(source_rows)s, coalesce(c.row_count, 0)
    from own left join checkpoint c on true
    where %(source_rows)s::bigint is not null
    on conflict (tenant, entity) do update set at = now(), source_rows = excluded.source_rows,
        warehouse_rows = excluded.warehouse_rows
), reread as (
    insert into cw_sync.reread (tenant, entity, cursor)
    select own.tenant, own.entity, %(reread_cursor)s from own
    where %(reread_cursor)s::bigint is not null
    on conflict (tenant, entity) do update set cursor = excluded.cursor, updated_at = now()
), audit as (
    insert into cw_sync.audit (tenant, entity, kind, source_rows, warehouse_rows, missing, stale,
        extra, healed, deleted, drift, proven, detail)
    select own.tenant, own.entity, f.*
    from own, jsonb_to_record(%(audit)s::jsonb) as f (kind text, source_rows bigint,
        warehouse_rows bigint, missing bigint, stale bigint, extra bigint, healed bigint,
        deleted bigint, drift bigint, proven boolean, detail text)
    where %(audit)s::jsonb is not null
), run as (
    update cw_sync.run set finished_at = now(), status = %(status)s, error = %(error)s,
        kind = %(kind)s, api_version = %(api_version)s, requests = %(requests)s,
        retries = %(retries)s, pages = %(pages)s,
        throttled_seconds = round(%(throttled_seconds)s::numeric, 3),
        rows_read = %(rows_read)s, rows_inserted = %(rows_inserted)s,
        rows_updated = %(rows_updated)s, rows_unchanged = %(rows_unchanged)s,
        rows_deleted = %(rows_deleted)s, rows_healed = %(rows_healed)s,
        dead_letters = %(dead_letters)s
    where run_id = %(run_id)s
), lease as (
    delete from cw_sync.lease l using own where l.run_id = own.run_id
)
select row_count from checkpoint

-- name: save_checkpoint
-- A checkpoint whole, its ranges included. The run is its owner from then on.
with own as (
    select %(tenant)s::text as tenant, %(entity)s::text as entity, cw_sync.fence(%(run_id)s) as run_id
), checkpoint as (
    insert into cw_sync.checkpoint
        (tenant, entity, watermark, watermark_at, step_since, step_until, pass_since, pass_until,
        pass_at, cursor, run_id)
    select tenant, entity, %(watermark)s, %(watermark_at)s,
        (%(step)s::timestamptz[])[1], (%(step)s::timestamptz[])[2],
        %(since)s, %(until)s, %(pass_at)s, %(cursor)s, run_id
    from own
    on conflict (tenant, entity) do update set watermark = excluded.watermark,
        watermark_at = excluded.watermark_at, step_since = excluded.step_since,
        step_until = excluded.step_until, pass_since = excluded.pass_since,
        pass_until = excluded.pass_until, pass_at = excluded.pass_at, cursor = excluded.cursor,
        run_id = excluded.run_id, updated_at = now()
), others as (
    delete from cw_sync.id_range r using own
    where r.tenant = own.tenant and r.entity = own.entity and r.after <> all(%(after)s::bigint[])
)
insert into cw_sync.id_range (tenant, entity, after, upto, cursor)
select own.tenant, own.entity, r.*
from own, unnest(%(after)s::bigint[], %(upto)s::bigint[], %(reached)s::bigint[]) as r
on conflict (tenant, entity, after) do update set upto = excluded.upto, cursor = excluded.cursor

-- name: move_tail
-- In the transaction of a batch. No row: a run of another purpose has moved the pass meanwhile.
update cw_sync.checkpoint set cursor = %(cursor)s, updated_at = now()
where tenant = %(tenant)s and entity = %(entity)s and run_id = %(run_id)s

-- name: move_range
with owner as (
    select tenant, entity from cw_sync.checkpoint
    where tenant = %(tenant)s and entity = %(entity)s and run_id = %(run_id)s for share
)
update cw_sync.id_range r set cursor = %(cursor)s from owner
where r.tenant = owner.tenant and r.entity = owner.entity and r.after = %(after)s

-- name: split_range
-- The first part's cursor stays as it is stored: a page that it covers may not be loaded yet.
with own as (
    select cw_sync.fence(%(run_id)s) as run_id
), owner as (
    select c.tenant, c.entity from own, cw_sync.checkpoint c
    where c.tenant = %(tenant)s and c.entity = %(entity)s and c.run_id = own.run_id for share of c
), lower as (
    update cw_sync.id_range r set upto = %(middle)s from owner
    where r.tenant = owner.tenant and r.entity = owner.entity and r.after = %(after)s
)
insert into cw_sync.id_range (tenant, entity, after, upto, cursor)
select tenant, entity, %(middle)s, %(upto)s, %(middle)s from owner

-- name: finish_range
delete from cw_sync.id_range using cw_sync.fence(%(run_id)s)
where tenant = %(tenant)s and entity = %(entity)s and after = %(after)s

-- name: note_rows
-- In the transaction that changes the table: by how many live rows it has grown.
insert into cw_sync.row_change (tenant, entity, change) values (%(tenant)s, %(entity)s, %(change)s)

-- name: sum_rows
-- Live rows by what was noted since they were counted; notes stay until there is a count to add
-- them to. Null or no row: they were never counted.
with counted as (
    select from cw_sync.checkpoint
    where tenant = %(tenant)s and entity = %(entity)s and row_count is not null
), noted as (
    delete from cw_sync.row_change
    where tenant = %(tenant)s and entity = %(entity)s and exists (select from counted)
    returning change
), summed as (
    update cw_sync.checkpoint set row_count = row_count + (select sum(change) from noted)
    where tenant = %(tenant)s and entity = %(entity)s and exists (select from noted)
    returning row_count
)
select row_count from summed
union all
select row_count from cw_sync.checkpoint
where tenant = %(tenant)s and entity = %(entity)s and not exists (select from noted)

-- name: count_rows
-- One statement: what it counts is what it forgets the notes of.
with noted as (
    delete from cw_sync.row_change where tenant = %(tenant)s and entity = %(entity)s
), counted as (
    select count(*) as rows from {schema}.{table} where _deleted_at is null
), stored as (
    update cw_sync.checkpoint set row_count = counted.rows from counted
    where tenant = %(tenant)s and entity = %(entity)s
)
select rows from counted

-- name: count_stamps
select count(*), count(last_updated)
from {schema}.{table} where _deleted_at is null

-- name: save_source_count
insert into cw_sync.source_count (tenant, entity, source_rows, warehouse_rows)
select %(tenant)s, %(entity)s, %(source_rows)s, %(warehouse_rows)s from cw_sync.fence(%(run_id)s)
on conflict (tenant, entity) do update set at = now(), source_rows = excluded.source_rows,
    warehouse_rows = excluded.warehouse_rows

-- name: absent_ids
select {key} from {schema}.{table} t
where _deleted_at is null
    and not exists (select from unnest(%(seen)s::bigint[]) seen (id) where seen.id = t.{key})
order by 1

-- name: soft_delete
-- Not what was written since `before`: another run has just read it. What is ahead of the clock was
-- written before that was set back.
update {schema}.{table} set _deleted_at = now(), _synced_at = now()
where {key} = any(%(ids)s::bigint[]) and _deleted_at is null
    and _synced_at not between %(before)s and clock_timestamp()

-- name: soft_delete_of_parent
update {schema}.{table} set _deleted_at = now(), _synced_at = now()
where parent_id = %(parent_id)s and {key} = any(%(ids)s::bigint[])
    and _deleted_at is null and _synced_at not between %(before)s and clock_timestamp()

-- name: delete_array
-- Not of a child that lives on below another parent.
update {schema}.{other} a set _deleted_at = now()
where parent_id = any(%(ids)s::bigint[]) and _deleted_at is null
    and not exists (select from {schema}.{table} t
        where t.{key} = a.parent_id and t._deleted_at is null)

-- name: set_delete_candidates
with own as (
    select %(tenant)s::text as tenant, %(entity)s::text as entity from cw_sync.fence(%(run_id)s)
), rows as (
    select * from unnest(%(parent_ids)s::bigint[], %(ids)s::bigint[]) as row (parent_id, record_id)
), gone as (
    delete from cw_sync.delete_candidate d using own
    where d.tenant = own.tenant and d.entity = own.entity
        and (%(parents)s::bigint[] is null or d.parent_id = any(%(parents)s::bigint[]))
        and (d.parent_id, d.record_id) not in (select parent_id, record_id from rows)
)
insert into cw_sync.delete_candidate (tenant, entity, parent_id, record_id, reason)
select own.tenant, own.entity, rows.parent_id, rows.record_id, %(reason)s from own, rows
on conflict (tenant, entity, parent_id, record_id) do update set reason = excluded.reason,
    seen_at = now()

-- name: due_parents
-- Parents, outermost first: those that are stored, and those whose record is listed, but is a dead
-- letter. Whether they changed since their children were read, those were read longer than `age`
-- ago, or at all; and whether the parent itself is neither a row nor a dead letter, so that only the
-- source can tell whether it is there. In a `whole` pass also of children that no read is noted of.
with gone as (
    {parents_gone}
), rejected as (
    select record_id as id, max(parent_id) as parent_id, max(last_seen) as seen_at
    from cw_sync.dead_letter
    where tenant = %(tenant)s and entity = %(parent)s and resolved_at is null
        and record_id is not null
    group by record_id
), parents as (
    select {outer_id} as outer_id, p.id, greatest(p._synced_at, d.seen_at) as changed_at
    from {schema}.{other} p left join rejected d on d.id = p.id
    where p._deleted_at is null
    union all
    select d.parent_id, d.id, d.seen_at from rejected d
    where not exists (select from {schema}.{other} p where p.id = d.id and p._deleted_at is null)
), reads as (
    select parent_id as id, read_at from cw_sync.parent_read
    where tenant = %(tenant)s and entity = %(entity)s
    union all
    select distinct c.parent_id, null::timestamptz from {schema}.{table} c
    where %(whole)s and c._deleted_at is null and not exists (select from cw_sync.parent_read r
        where r.tenant = %(tenant)s and r.entity = %(entity)s and r.parent_id = c.parent_id)
)
select p.outer_id, coalesce(p.id, r.id),
    -- Read at a time that is still to come: before the clock was set back.
    r.read_at is null or coalesce(p.changed_at >= r.read_at, false)
        or r.read_at > clock_timestamp(),
    coalesce(r.read_at < clock_timestamp() - %(age)s, false), r.read_at is not null, p.id is not null
from parents p
full join reads r on r.id = p.id
where p.id is not null or r.id not in (select id from gone)
order by r.read_at nulls first, 2

-- name: count_parents
-- How many are stored; how many dead letters of theirs have no id by which to ask for children.
select (select count(*) from {schema}.{other} where _deleted_at is null),
    (select count(*) from cw_sync.dead_letter
        where tenant = %(tenant)s and entity = %(parent)s and resolved_at is null
            and record_id is null)

-- name: parent_path
-- The living one where the record has moved below another parent. What was never stored may have
-- been a dead letter.
select parent_id from (
    select parent_id, _deleted_at is null as is_stored, _synced_at as seen_at
    from {schema}.{other} where id = %(parent_id)s
    union all
    select parent_id, false, last_seen from cw_sync.dead_letter
    where tenant = %(tenant)s and entity = %(parent)s and record_id = %(parent_id)s
        and parent_id is not null
) seen order by is_stored desc, seen_at desc limit 1

-- name: announce_parents_due
update cw_sync.run set parents_due = %(parents)s where run_id = %(run_id)s

-- name: children_of
select clock_timestamp(), array(
    select {key} from {schema}.{table} where parent_id = %(parent_id)s and _deleted_at is null
)

-- name: mark_parent_read
-- Dead letters of children without an id are closed, if the parent's list was read without them.
with letters as (
    update cw_sync.dead_letter l set resolved_at = now(),
        resolution = 'the source no longer has the record'
    from cw_sync.fence(%(run_id)s)
    where %(read_all)s and l.tenant = %(tenant)s and l.entity = %(entity)s
        and l.parent_id = %(parent_id)s and {is_gone} and (%(has_id)s or exists (
            -- It began when the run that stored the letter had ended.
            select from cw_sync.parent_read p
            where p.tenant = l.tenant and p.entity = l.entity and p.parent_id = l.parent_id
                and not exists (select from cw_sync.run r
                    where r.run_id = l.run_id and r.finished_at >= p.read_at)))
)
insert into cw_sync.parent_read (tenant, entity, parent_id, read_at)
select %(tenant)s, %(entity)s, %(parent_id)s, %(at)s from cw_sync.fence(%(run_id)s)
on conflict (tenant, entity, parent_id) do update set read_at = excluded.read_at

-- name: forget_parent
-- Not if another run has just read its children.
delete from cw_sync.parent_read using cw_sync.fence(%(run_id)s)
where tenant = %(tenant)s and entity = %(entity)s and parent_id = %(parent_id)s
    and read_at not between %(before)s and clock_timestamp()

-- name: parents_gone
-- Not those whose record is listed again, but is a dead letter, or was one until it was discarded.
select p.id from {schema}.{other} p
where p._deleted_at is not null and not exists (
    -- It lives on below another parent of its own.
    select from {schema}.{other} l where l.id = p.id and l._deleted_at is null
) and not exists (
    select from cw_sync.dead_letter d
    where d.tenant = %(tenant)s and d.entity = %(parent)s and d.record_id = p.id
        and (d.resolved_at is null
            or d.resolution like 'discarded:%%' and d.resolved_at > p._deleted_at)
)

-- name: parents_read
-- When the children that were read longest ago were read, and whether something is left of parents
-- that are gone.
with gone as (
    {parents_gone}
)
select (
    select min(read_at) from cw_sync.parent_read
    where tenant = %(tenant)s and entity = %(entity)s
), exists (
    select from cw_sync.parent_read r join gone on gone.id = r.parent_id
    where r.tenant = %(tenant)s and r.entity = %(entity)s
) or exists (
    select from {schema}.{table} c join gone on gone.id = c.parent_id where c._deleted_at is null
)

-- name: delete_orphans
-- Children of parents that are gone. When they were read is forgotten, or the entity would seem as
-- old as that.
with gone as (
    {parents_gone}
), forgotten as (
    delete from cw_sync.parent_read r using gone
    where r.tenant = %(tenant)s and r.entity = %(entity)s and r.parent_id = gone.id
)
update {schema}.{table} c set _deleted_at = now(), _synced_at = now()
from gone where c.parent_id = gone.id and c._deleted_at is null
returning c.{key}

-- name: watermark_of
select watermark from cw_sync.checkpoint where tenant = %(tenant)s and entity = %(name)s

-- name: note_drift
insert into cw_sync.column_drift (tenant, entity, "column", change, sample)
select %(tenant)s, %(entity)s, d.* from unnest(%(columns)s::text[], %(changes)s::text[],
    %(samples)s::text[]) as d
on conflict (tenant, entity, "column", change) do update set last_seen = now()
