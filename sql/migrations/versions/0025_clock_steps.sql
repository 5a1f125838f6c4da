-- From where lists are read again after the source's clock was set forward, and for how long.

-- What was stamped before the step may be committed after it, with a stamp that the usual overlap
-- does not reach back to.
alter table cw_sync.checkpoint add column step_since timestamptz, add column step_until timestamptz;
comment on column cw_sync.checkpoint.step_since is
    'The watermark before the source''s clock was set forward: passes overlap with it until step_until';
comment on column cw_sync.checkpoint.step_until is
    'When what was stamped before the step is committed, by the warehouse''s clock; null once a pass that began later has read it';
