-- How many people each direct text of a producer was allowed to reach, over the whole fleet: processes lease of it what
-- they need, and never send more than they leased.
create table direct_reach (
    -- Names the producer, the text (declared, or as it reads) and its window; not the text itself.
    text    blob    primary key check (length(text) = 32),
    -- The newest slice of the window that was counted in, and what each of the last slices was given.
    newest  integer not null,
    given   blob    not null check (length(given) = 24),
    -- The slice in which people were last told that it was stopped; null: never.
    stopped integer,
    -- Behind this it says nothing any more.
    until   integer not null
) without rowid;

create index direct_reach_over on direct_reach (until);
