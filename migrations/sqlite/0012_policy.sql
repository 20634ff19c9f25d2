-- The policy in force; see the migration of the same name for PostgreSQL.
create table policy_version (
    hash  blob    primary key check (length(hash) = 32),
    files text    not null,
    at    integer not null
) strict;
create table policy_in_force (
    one   integer primary key default 1 check (one = 1),
    hash  blob    not null references policy_version (hash),
    since integer not null,
    actor text    not null
) strict;
create table policy_proposal (
    one   integer primary key default 1 check (one = 1),
    hash  blob    not null references policy_version (hash),
    at    integer not null,
    actor text    not null
) strict;
