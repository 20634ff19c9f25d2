-- The same on SQLite; see PostgreSQL's file for what each column means.
create table device_version (
    owner_key blob    primary key check (length(owner_key) = 32),
    version   integer not null check (version >= 0),
    at        integer not null
) strict, without rowid;

alter table device drop column version;
