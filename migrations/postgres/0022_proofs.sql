-- What a person has seen on a tester's phone and found right, by its words. The latest word counts.
create table proof (
    app         text   not null,
    fingerprint bytea  not null check (octet_length(fingerprint) = 32),
    -- The test campaign that was looked at.
    campaign    bigint not null references campaign (id),
    proven_by   text   not null,
    proven_at   bigint not null,
    reason      text   not null,
    primary key (app, fingerprint)
);

create index proof_of_campaign on proof (campaign);

grant select, insert, update on proof to bellwether_serving;
