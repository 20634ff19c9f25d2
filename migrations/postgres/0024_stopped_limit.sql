-- Of which limit somebody was told last that it is met: another limit is other news. `producer_day.stopped` is read no more.
alter table producer_day add column stopped_limit bigint;
