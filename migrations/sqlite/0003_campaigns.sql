-- The same on SQLite; see PostgreSQL's file for what each column means.

create table campaign (
    id           integer primary key autoincrement,
    public_id    blob    not null unique,
    producer     text    not null,
    job_id       text    not null,
    digest       blob   not null check (length(digest) = 32),
    app          text    not null,
    audience     text    not null,
    class        text    not null check (class in ('test', 'internal', 'production')),
    intent       text    not null check (intent in ('test', 'production')),
    at_most      integer  not null,
    at_most_once integer not null,
    -- The canonical job; null once its text is forgotten (the digest stays).
    job          text,
    -- The policy under which it was cleared and frozen.
    policy       blob   not null check (length(policy) = 32),
    -- The plan as it stood then, as JSON.
    plan         text    not null,
    traceparent  text,
    received_at  integer  not null,
    not_before   integer,
    expires_at   integer  not null,
    unique (producer, job_id)
) strict;

create table rollout (
    id            integer  primary key references campaign (id),
    app           text    not null,
    audience      text    not null,
    at_most_once  integer not null,
    expires_at    integer  not null,
    state         text    not null check (state in ('draft', 'pending_approval', 'approved', 'running', 'baking',
                      'paused', 'completed', 'halted', 'aborted', 'rejected', 'expired')),
    -- Why it is paused, halted, aborted or rejected.
    cause         text,
    -- The stage that was opened last; -1 before the first.
    stage         integer not null default -1,
    -- Which run is valid: every pause and halt starts a new one.
    epoch         integer  not null default 1,
    -- Devices and chunks frozen so far, and where the freezing stands (JSON; null once it is done).
    frozen        integer   not null default 0,
    chunks        integer  not null default 0,
    freeze_cursor text,
    frozen_digest blob check (length(frozen_digest) = 32),
    changed_at    integer   not null,
    finished_at   integer
) strict;

-- The coordinator's question; nearly all rollouts are over.
create index rollout_live on rollout (id) where finished_at is null;
create index campaign_recent on campaign (app, received_at);

create table stage (
    rollout   integer   not null references rollout (id),
    stage     integer not null,
    devices   integer   not null,
    chunks    integer  not null,
    opened_at integer,
    -- When the last of its first-time chunks was done; retries go on as a tail.
    sent_at   integer,
    -- Slow start: devices intended and not recorded, devices accepted, and whether it is over.
    in_flight integer not null default 0,
    clean     integer not null default 0,
    ramped    integer not null default 0,
    primary key (rollout, stage)
) strict;

-- The lists themselves.
create table chunk (
    rollout      integer   not null,
    chunk        integer  not null,
    stage        integer not null,
    -- Of a retry: which first-time chunk its devices are from, and which try this is (0: the first time).
    source       integer,
    try          integer not null default 0,
    n            integer not null check (n between 1 and 1000),
    first_bucket integer not null,
    last_bucket  integer not null,
    -- The (bucket, id) keys of its devices, packed; see src/rollout.
    ids          blob    not null,
    primary key (rollout, chunk),
    unique (rollout, source, try)
) strict;

create table claim (
    rollout integer   not null,
    chunk   integer  not null,
    stage   integer not null,
    -- Who holds it; null before the first claim.
    worker  text,
    -- Counts the claims: a worker's statement names its own number, and fails under a later one.
    number  integer  not null default 0,
    -- Nobody else may take it before. Before the first claim: when the chunk is due.
    until   integer   not null,
    done_at integer,
    -- Devices that are not final (0 until done), and the longest wait that a provider asked for among them.
    deferred integer not null default 0,
    retry_at integer,
    -- A retry chunk has been made for what was deferred, or never will be.
    followed integer not null default 0,
    primary key (rollout, chunk)
) strict;

create index claim_free on claim (rollout, until) where done_at is null;
create index claim_to_follow on claim (rollout, chunk) where deferred > 0 and not followed;

create table segment (
    rollout  integer   not null,
    chunk    integer  not null,
    -- The position of its first device in the chunk, and how many it has.
    segment  integer not null,
    n        integer not null check (n between 1 and 100),
    claim    integer  not null,
    epoch    integer  not null,
    at       integer   not null,
    -- Null is an intent; then one byte a device, by position.
    outcomes blob check (length(outcomes) = n),
    primary key (rollout, chunk, segment)
) strict;

-- Words for the few outcomes that one byte does not explain.
create table delivery_word (
    rollout  integer   not null,
    chunk    integer  not null,
    position integer not null,
    outcome  integer not null,
    reason   text     not null,
    at       integer   not null,
    primary key (rollout, chunk, position)
) strict;

-- What came of a stage so far, one row a worker so that workers do not wait for each other; the sum is the answer.
create table tally (
    rollout         integer   not null,
    stage           integer not null,
    provider        text     not null check (provider in ('apns', 'fcm')),
    worker          text     not null,
    accepted        integer   not null default 0,
    token_gone      integer   not null default 0,
    rejected        integer   not null default 0,
    throttled       integer   not null default 0,
    unavailable     integer   not null default 0,
    unknown         integer   not null default 0,
    not_sent        integer   not null default 0,
    credential_stop integer   not null default 0,
    expired         integer   not null default 0,
    left_out        integer   not null default 0,
    primary key (rollout, stage, provider, worker)
) strict;

-- Who rules. One row, for ever.
create table coordinator (
    one    integer primary key default 1 check (one = 1),
    term   integer not null,
    holder text   not null,
    until  integer not null
) strict;
insert into coordinator (term, holder, until) values (0, '', 0);

-- Fleet-wide rates: when the next slot of each is free. See src/pace.
create table lease (
    key     text   primary key,
    next_at integer not null,
    -- For a provider's row: what campaigns have taken, and until when the direct lane may use the whole rate.
    campaign_next_at  integer not null default 0,
    direct_full_until integer not null default 0
) strict;

create table halt_wider (
    scope  text primary key check (scope = 'all' or scope like 'app:%' or scope like 'audience:%' or scope like 'campaign:%'),
    actor  text not null,
    reason text not null,
    at     integer not null
) strict;
insert into halt_wider select scope, actor, reason, at from halt;
drop table halt;
alter table halt_wider rename to halt;

-- The registry: an order for registrations that come by queue, and indexes for the conditions that audiences use.
alter table device add column version integer not null default 0;
create index device_country on device (app, country, bucket, id) where gone_at is null;
create index device_seen on device (app, last_seen_at, bucket, id) where gone_at is null;
