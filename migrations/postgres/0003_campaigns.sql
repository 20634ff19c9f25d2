-- Campaigns: an audience frozen into chunks, sent segment by segment by whoever claims them.
--
-- `campaign` says what and is written once; `rollout` says how it stands, and is the row that every segment's
-- intent is committed under (FOR SHARE): whoever changes it waits for the intents under way, and whoever comes
-- after sees the change.

create table campaign (
    id           bigint generated always as identity primary key,
    public_id    uuid    not null unique,
    producer     text    not null,
    job_id       text    not null,
    digest       bytea   not null check (octet_length(digest) = 32),
    app          text    not null,
    audience     text    not null,
    class        text    not null check (class in ('test', 'internal', 'production')),
    intent       text    not null check (intent in ('test', 'production')),
    at_most      bigint  not null,
    at_most_once boolean not null,
    -- The canonical job; null once its text is forgotten (the digest stays).
    job          text,
    -- The policy under which it was cleared and frozen.
    policy       bytea   not null check (octet_length(policy) = 32),
    -- The plan as it stood then, as JSON.
    plan         text    not null,
    traceparent  text,
    received_at  bigint  not null,
    not_before   bigint,
    expires_at   bigint  not null,
    unique (producer, job_id)
);

create table rollout (
    id            bigint  primary key references campaign (id),
    app           text    not null,
    audience      text    not null,
    at_most_once  boolean not null,
    expires_at    bigint  not null,
    state         text    not null check (state in ('draft', 'pending_approval', 'approved', 'running', 'baking',
                      'paused', 'completed', 'halted', 'aborted', 'rejected', 'expired')),
    -- Why it is paused, halted, aborted or rejected.
    cause         text,
    -- The stage that was opened last; -1 before the first.
    stage         smallint not null default -1,
    -- Which run is valid: every pause and halt starts a new one.
    epoch         integer  not null default 1,
    -- Devices and chunks frozen so far, and where the freezing stands (JSON; null once it is done).
    frozen        bigint   not null default 0,
    chunks        integer  not null default 0,
    freeze_cursor text,
    frozen_digest bytea check (octet_length(frozen_digest) = 32),
    changed_at    bigint   not null,
    finished_at   bigint
);

-- The coordinator's question; nearly all rollouts are over.
create index rollout_live on rollout (id) where finished_at is null;
create index campaign_recent on campaign (app, received_at);

create table stage (
    rollout   bigint   not null references rollout (id),
    stage     smallint not null,
    devices   bigint   not null,
    chunks    integer  not null,
    opened_at bigint,
    -- When the last of its first-time chunks was done; retries go on as a tail.
    sent_at   bigint,
    -- Slow start: devices intended and not recorded, devices accepted, and whether it is over.
    in_flight integer not null default 0,
    clean     bigint not null default 0,
    ramped    boolean not null default false,
    primary key (rollout, stage)
);

-- The lists themselves, by ranges of campaigns, so that old campaigns are dropped as partitions.
create table chunk (
    rollout      bigint   not null,
    chunk        integer  not null,
    stage        smallint not null,
    -- Of a retry: which first-time chunk its devices are from, and which try this is (0: the first time).
    source       integer,
    try          smallint not null default 0,
    n            smallint not null check (n between 1 and 1000),
    first_bucket smallint not null,
    last_bucket  smallint not null,
    -- The (bucket, id) keys of its devices, packed; see src/rollout.
    ids          bytea    not null,
    primary key (rollout, chunk),
    unique (rollout, source, try)
) partition by range (rollout);

create table claim (
    rollout bigint   not null,
    chunk   integer  not null,
    stage   smallint not null,
    -- Who holds it; null before the first claim.
    worker  text,
    -- Counts the claims: a worker's statement names its own number, and fails under a later one.
    number  integer  not null default 0,
    -- Nobody else may take it before. Before the first claim: when the chunk is due.
    until   bigint   not null,
    done_at bigint,
    -- Devices that are not final (0 until done), and the longest wait that a provider asked for among them.
    deferred smallint not null default 0,
    retry_at bigint,
    -- A retry chunk has been made for what was deferred, or never will be.
    followed boolean not null default false,
    primary key (rollout, chunk)
) partition by range (rollout);

create index claim_free on claim (rollout, until) where done_at is null;
create index claim_to_follow on claim (rollout, chunk) where deferred > 0 and not followed;

create table segment (
    rollout  bigint   not null,
    chunk    integer  not null,
    -- The position of its first device in the chunk, and how many it has.
    segment  smallint not null,
    n        smallint not null check (n between 1 and 100),
    claim    integer  not null,
    epoch    integer  not null,
    at       bigint   not null,
    -- Null is an intent; then one byte a device, by position.
    outcomes bytea check (octet_length(outcomes) = n),
    primary key (rollout, chunk, segment)
) partition by range (rollout);

-- Words for the few outcomes that one byte does not explain.
create table delivery_word (
    rollout  bigint   not null,
    chunk    integer  not null,
    position smallint not null,
    outcome  smallint not null,
    reason   text     not null,
    at       bigint   not null,
    primary key (rollout, chunk, position)
) partition by range (rollout);

do $$
declare
    name text;
begin
    foreach name in array array['chunk', 'claim', 'segment', 'delivery_word'] loop
        execute format('create table %s_0 partition of %s for values from (minvalue) to (1000)', name, name);
        execute format('create table %s_rest partition of %s default', name, name);
    end loop;
end
$$;

-- What came of a stage so far, one row a worker so that workers do not wait for each other; the sum is the answer.
create table tally (
    rollout         bigint   not null,
    stage           smallint not null,
    provider        text     not null check (provider in ('apns', 'fcm')),
    worker          text     not null,
    accepted        bigint   not null default 0,
    token_gone      bigint   not null default 0,
    rejected        bigint   not null default 0,
    throttled       bigint   not null default 0,
    unavailable     bigint   not null default 0,
    unknown         bigint   not null default 0,
    not_sent        bigint   not null default 0,
    credential_stop bigint   not null default 0,
    expired         bigint   not null default 0,
    left_out        bigint   not null default 0,
    primary key (rollout, stage, provider, worker)
);

-- Who rules. One row, for ever.
create table coordinator (
    one    smallint primary key default 1 check (one = 1),
    term   bigint not null,
    holder text   not null,
    until  bigint not null
);
insert into coordinator (term, holder, until) values (0, '', 0);

-- Fleet-wide rates: when the next slot of each is free. See src/pace.
create table lease (
    key     text   primary key,
    next_at bigint not null,
    -- For a provider's row: what campaigns have taken, and until when the direct lane may use the whole rate.
    campaign_next_at  bigint not null default 0,
    direct_full_until bigint not null default 0
);

alter table halt drop constraint halt_scope_check;
alter table halt add constraint halt_scope_check
    check (scope = 'all' or scope like 'app:%' or scope like 'audience:%' or scope like 'campaign:%');

-- The registry: an order for registrations that come by queue, and indexes for the conditions that audiences use.
alter table device add column version bigint not null default 0;
create index device_country on device (app, country, bucket, id) where gone_at is null;
create index device_seen on device (app, last_seen_at, bucket, id) where gone_at is null;

grant select, insert, update on campaign, rollout, stage, tally, lease, coordinator to bellwether_serving;
grant select, insert on chunk to bellwether_serving;
grant select, insert, update on claim, segment, delivery_word to bellwether_serving;
-- The exchange reads devices from the partition that has them.
do $$
begin
    for n in 0..63 loop
        execute format('grant select on device_p%s to bellwether_serving', lpad(n::text, 2, '0'));
    end loop;
end
$$;
