-- The policy in force: every version that was ever in force or proposed, which one is, and what is proposed.

create table policy_version (
    hash  bytea  primary key check (octet_length(hash) = 32),
    -- Its files, as a JSON list of {"path", "text"}.
    files text   not null,
    at    bigint not null
);

-- One row each, for ever or until it is decided.
create table policy_in_force (
    one   smallint primary key default 1 check (one = 1),
    hash  bytea  not null references policy_version (hash),
    since bigint not null,
    actor text   not null
);
create table policy_proposal (
    one   smallint primary key default 1 check (one = 1),
    hash  bytea  not null references policy_version (hash),
    at    bigint not null,
    actor text   not null
);

grant select, insert on policy_version to bellwether_serving;
grant select, insert, update on policy_in_force to bellwether_serving;
grant select, insert, update, delete on policy_proposal to bellwether_serving;
