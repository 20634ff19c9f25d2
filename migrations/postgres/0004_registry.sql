-- What the queue `devices` has said of phones: how late a message may come and still be heard.
--
-- A row for each phone that was ever registered, updated or removed by queue, whatever became of it since: gone, moved to
-- another person, forgotten. So the row of a removed phone is its tombstone, and an old registration that arrives late
-- raises nobody from the dead. It knows the phone by a hash, and no person.
create table device_version (
    owner_key bytea  primary key check (octet_length(owner_key) = 32),
    version   bigint not null check (version >= 0),
    at        bigint not null
);

grant select, insert, update on device_version to bellwether_serving;

-- Never written: a row's version would have been lost when its phone moved to another row.
alter table device drop column version;
