-- By which clock a pass began, and clocks that disagree.

-- The watermark is the source's time. Should the source's clock be set back, only another clock tells
-- what it showed, as it goes then, when the pass behind the watermark began.
alter table cw_sync.checkpoint add column watermark_at timestamptz, add column pass_at timestamptz;
comment on column cw_sync.checkpoint.watermark_at is 'When the pass that made the watermark began, by the warehouse''s clock; null where it was not noted';
comment on column cw_sync.checkpoint.pass_at is 'When the open pass began, by the warehouse''s clock';

create table cw_sync.clock_disorder (
    tenant  text        primary key,
    seen_at timestamptz not null default now(),
    detail  text        not null
);
comment on table cw_sync.clock_disorder is 'When the clocks of ConnectWise, the worker and the warehouse were last seen further apart than CW_CLOCK_TOLERANCE_SECONDS, and how far';
