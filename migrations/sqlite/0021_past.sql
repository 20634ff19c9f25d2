-- What the guard is told of the past.

-- When a notification of each producer was last stopped for what it is.
create table flagged (
    producer text    primary key,
    at       integer not null
) strict;

-- What it says, so that another that says the same is found. Null: it came before that was noted.
alter table campaign add column fingerprint blob check (length(fingerprint) = 32);
alter table campaign add column simhash integer;

-- What was said to an audience lately.
create index campaign_said on campaign (app, audience, received_at);

-- Which rules of the guard only report, for which app, and since which activation of a policy without a break.
create table shadow_rule (
    app   text    not null,
    rule  text    not null,
    since integer not null,
    primary key (app, rule)
) strict;
