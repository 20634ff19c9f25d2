-- How many distinct devices the direct jobs of each producer reach in a day (UTC), over the whole fleet.
create table producer_day (
    producer text    not null,
    -- Days since 1970.
    day      bigint not null,
    -- The devices that were counted, as a sketch of their number; see src/guard/sketch.rs.
    sketch   bytea not null,
    -- Somebody has been told that it reached as many as it may.
    stopped  boolean not null default false,
    primary key (producer, day)
);

-- How many devices each process may still count of it. What a process that died had leased stays counted until the day is over.
create table producer_lease (
    producer text    not null,
    day      bigint not null,
    process  uuid not null,
    devices  bigint not null check (devices >= 0),
    primary key (producer, day, process)
);

-- What a producer's campaigns may reach today.
create index campaign_of_producer on campaign (producer, expires_at);

grant select, insert, update, delete on producer_day, producer_lease to bellwether_serving;
