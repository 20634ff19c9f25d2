-- How many people each direct text of a producer was allowed to reach, over the whole fleet: processes lease of it what
-- they need, and never send more than they leased.
create table direct_reach (
    -- Names the producer, the text (declared, or as it reads) and its window; not the text itself.
    text    bytea  primary key check (length(text) = 32),
    -- The newest slice of the window that was counted in, and what each of the last slices was given.
    newest  bigint not null,
    given   bytea  not null check (length(given) = 24),
    -- The slice in which people were last told that it was stopped; null: never.
    stopped bigint,
    -- Behind this it says nothing any more.
    until   bigint not null
);

create index direct_reach_over on direct_reach (until);

grant select, insert, update, delete on direct_reach to bellwether_serving;
