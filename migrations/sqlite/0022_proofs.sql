-- What a person has seen on a tester's phone and found right, by its words. The latest word counts.
create table proof (
    app         text    not null,
    fingerprint blob    not null check (length(fingerprint) = 32),
    -- The test campaign that was looked at.
    campaign    integer not null references campaign (id),
    proven_by   text    not null,
    proven_at   integer not null,
    reason      text    not null,
    primary key (app, fingerprint)
) without rowid;

create index proof_of_campaign on proof (campaign);
