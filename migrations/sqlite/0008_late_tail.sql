-- The same on SQLite; see PostgreSQL's file for what each column means.

alter table direct_job add column campaign integer not null default 0;

insert into direct_job (producer, job_id, digest, app, intent, at_most_once, policy, received_at, expires_at, state, tries,
        devices, outcomes, unreachable, traceparent, finished_at, campaign)
    select producer, job_id, digest, app, intent, at_most_once, policy, received_at, expires_at, 'finished', 0,
        x'', x'', 0, traceparent, expires_at, 1
    from campaign
    where true
    on conflict (producer, job_id) do nothing;

alter table claim add column quiet_until integer;
alter table tally add column quiet_hours integer not null default 0;
