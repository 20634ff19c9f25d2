-- One key for both lanes -----------------------------------------------------------------------------

-- (producer, id) is one idempotency key. A campaign takes its key in direct_job, too: there it is unique, and the direct
-- lane's insert meets it without asking anybody else. Such a row says nothing but that the key is taken, and counts as
-- finished when the campaign expires.
alter table direct_job add column campaign boolean not null default false;

insert into direct_job (producer, job_id, digest, app, intent, at_most_once, policy, received_at, expires_at, state, tries,
        devices, outcomes, unreachable, traceparent, finished_at, campaign)
    select producer, job_id, digest, app, intent, at_most_once, policy, received_at, expires_at, 'finished', 0,
        ''::bytea, ''::bytea, 0, traceparent, expires_at, true
    from campaign
    on conflict (producer, job_id) do nothing;

-- The late tail --------------------------------------------------------------------------------------

-- Of a done chunk's devices whose owners slept: when the first of them may be rung.
alter table claim add column quiet_until bigint;
alter table tally add column quiet_hours bigint not null default 0;
