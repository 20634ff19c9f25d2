-- After a mistake: a campaign that corrects another, or supersedes it, is frozen from that one's lists.

-- Whose words it mends, and how. A retry of such a campaign mends the same one. Null: it mends none.
alter table campaign add column after_of bigint references campaign (id);
alter table campaign add column after_how text check (after_how in ('correct', 'supersede'));
alter table campaign add constraint campaign_after check ((after_of is null) = (after_how is null));
create index campaign_after on campaign (after_of) where after_of is not null;

-- An earlier claim had begun it and recorded nothing: whatever comes of the second sending, the first may have arrived.
alter table segment add column doubted boolean not null default false;

do $$
declare
    body text := pg_get_functiondef('segment_exchange'::regproc);
    takes constant text := 'set claim = excluded.claim, epoch = excluded.epoch, at = excluded.at where segment.outcomes is null';
begin
    if position(takes in body) = 0 then
        raise exception 'segment_exchange is not what this migration changes';
    end if;
    execute replace(body, takes, 'set claim = excluded.claim, epoch = excluded.epoch, at = excluded.at, '
        'doubted = segment.doubted or segment.claim <> excluded.claim where segment.outcomes is null');
end
$$;
