-- Publication: the day on which a month is closed.

-- What is recorded of a month by then counts as known in it.
alter table cw_sync.publication add column month_closes_on smallint not null default 5;
comment on column cw_sync.publication.month_closes_on is 'Day of the next month at whose end a month is closed (0: when it ends), as published: CW_MONTH_CLOSES_ON';
comment on table cw_sync.history is 'Earlier values as releases before 0.2 kept them, column by column; taken over into the tables of versions, and not written any more';
comment on table cw_sync.history_column is 'Columns that are kept of versions, and since when';
