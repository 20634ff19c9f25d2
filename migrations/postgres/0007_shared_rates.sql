-- A provider's rate, shared by the two lanes; see src/pace. Of such a row `next_at` is the direct lane's reserve and
-- `campaign_next_at` the rest, which campaigns take and the direct lane borrows.

alter table lease
    -- Until when campaigns hold slots of the rest: meanwhile the direct lane borrows little.
    add column campaigns_until bigint  not null default 0,
    -- What a provider's throttle has left of the rate, in thousandths, and since when.
    add column lowered         integer not null default 1000 check (lowered between 0 and 1000),
    add column lowered_at      bigint  not null default 0,
    -- Never used: the end of what campaigns hold says the same.
    drop column direct_full_until;

-- Requests that were on the wire when a worker heard of the halt that ended the rollout, and ended after it.
alter table rollout add column after_halt bigint not null default 0;
