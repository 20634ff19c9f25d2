-- The rate of a rollout that follows a signal of our own systems: set by whoever coordinates, read by whoever leases.
alter table lease
    -- Notifications a second over the whole fleet; null: none was ever noted.
    add column paced       integer check (paced > 0),
    -- Behind this nobody knows any more what our systems can take.
    add column paced_until bigint  not null default 0,
    -- What the signal said last; null: nothing.
    add column headroom    double precision;
