-- The rate of a rollout that follows a signal of our own systems: set by whoever coordinates, read by whoever leases.

-- Notifications a second over the whole fleet; null: none was ever noted.
alter table lease add column paced integer check (paced > 0);
-- Behind this nobody knows any more what our systems can take.
alter table lease add column paced_until integer not null default 0;
-- What the signal said last; null: nothing.
alter table lease add column headroom real;
