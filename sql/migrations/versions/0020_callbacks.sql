-- How callbacks stand: whether a receiver listens, and what is registered.

-- Dagster's check and `check` ask the warehouse alone, so that they also tell when nothing runs.
create table cw_sync.callback_state (
    tenant      text        primary key,
    receiver_at timestamptz,
    looked_at   timestamptz,
    to_do       text        not null default ''
);
comment on table cw_sync.callback_state is
    'Whether callbacks can arrive: when a receiver was last there, and what is not registered as it should be';
comment on column cw_sync.callback_state.receiver_at is 'When a receiver of the tenant last said that it listens: it does so each 30 seconds';
comment on column cw_sync.callback_state.looked_at is 'When live last asked ConnectWise for the registrations: it does so hourly';
comment on column cw_sync.callback_state.to_do is 'What `callbacks apply` would have to do; empty if all are as they should be';
