-- The exchange: outcomes in, next intents out, in one statement and one round trip, so that nobody holds the share lock on a
-- rollout's row while a network, or a worker that was stopped, takes its time.
--
-- What is asked is asked as parallel arrays; `_end` counts from 1 into the arrays of ends. What the numbers mean (which
-- outcomes are final, how a slow start widens) is the program's to say: it passes them in.

create function segment_exchange(
    of_rollout bigint, at_epoch integer, of_worker text, lease_micros bigint,
    -- Slow start: how many at first, and after how many accepted it is over.
    start_first bigint, start_over bigint,
    -- Segments that are over.
    end_chunk integer[], end_segment smallint[], end_stage smallint[], end_claim integer[], end_outcomes bytea[],
    -- What they come to: so many of an outcome at a provider.
    count_end integer[], count_provider text[], count_outcome text[], count_n bigint[],
    -- Words beside their bytes.
    word_end integer[], word_position smallint[], word_outcome smallint[], word_reason text[],
    -- The longest wait that a provider asked for.
    wait_end integer[], wait_micros bigint[],
    -- When the first of those who sleep may be rung.
    asleep_end integer[], asleep_until bigint[],
    -- Chunks of which, with these ends, everything is over; and which bytes are final, under `at_most_once` and otherwise.
    done_chunk integer[], done_claim integer[], final_once integer[], final_else integer[],
    -- Intents that are asked for. With `again`, one of an earlier claim's may be on record.
    ask_chunk integer[], ask_segment smallint[], ask_stage smallint[], ask_claim integer[], ask_n smallint[],
    ask_again boolean[],
    -- Chunks that are held, in rising order: two exchanges never wait for each other in a circle.
    held_chunk integer[], held_number integer[],

    -- Why nothing new is begun, if so.
    out refusal text,
    -- The clock, read behind the lock.
    out now_micros bigint,
    out expiry_left bigint,
    -- For each end, whether it was still this claim's to record.
    out recorded boolean[],
    -- For each ask, how many of its devices are intended, or why none: see the program.
    out granted smallint[],
    -- For each held chunk, what is left of the claim; null if it is lost.
    out claim_left bigint[]
) language plpgsql as $$
declare
    run record;
    stage_row record;
    -- By stage, counting from 1: how the slow start of each that is in one stands.
    under_way bigint[];
    so_clean bigint[];
    room bigint;
    begun smallint;
    broken integer;
    place integer;
    many bigint;
begin
    -- I5: a halt waits for the exchanges under way, and whoever comes after it finds another epoch.
    select r.state, r.epoch, r.stage, r.expires_at, r.at_most_once into strict run
        from rollout r where r.id = of_rollout for share;
    now_micros := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
    expiry_left := run.expires_at - now_micros;
    refusal := case
        when run.state = 'halted' then 'halted'
        when run.state = 'expired' then 'expired'
        when run.state <> 'running' or run.epoch <> at_epoch then 'stopped'
        -- I9
        when expiry_left <= 0 then 'expired'
    end;

    -- Claims. `offset 0`: each is found by its key, whatever the planner believes.
    select array_agg(c.until - now_micros order by h.place) into claim_left
        from unnest(held_chunk, held_number) with ordinality h (chunk, number, place)
        left join lateral (
            select k.until, k.number from claim k where k.rollout = of_rollout and k.chunk = h.chunk offset 0 for update
        ) c on c.number = h.number and c.until > now_micros;

    -- Outcomes. An insert that always meets its row, because that is found by the key and nothing else.
    recorded := array[]::boolean[];
    if cardinality(end_chunk) > 0 then
        with noted as (
            insert into segment (rollout, chunk, segment, n, claim, epoch, at, outcomes)
            select of_rollout, u.chunk, u.segment, octet_length(u.outcomes), u.claim, at_epoch, 0, u.outcomes
                from unnest(end_chunk, end_segment, end_claim, end_outcomes) u (chunk, segment, claim, outcomes)
            on conflict (rollout, chunk, segment) do update set outcomes = excluded.outcomes
                where segment.claim = excluded.claim and segment.outcomes is null
            returning chunk, segment, at
        )
        select array_agg(n.chunk is not null order by u.place), min(u.chunk) filter (where n.at = 0)
            into recorded, broken
            from unnest(end_chunk, end_segment) with ordinality u (chunk, segment, place)
            left join noted n on n.chunk = u.chunk and n.segment = u.segment;
        if broken is not null then
            raise exception 'a segment of chunk % is over, and was never intended', broken using errcode = '23514';
        end if;

        insert into tally (rollout, stage, provider, worker, accepted, token_gone, rejected, throttled, unavailable,
                unknown, not_sent, credential_stop, expired, left_out, quiet_hours)
            select of_rollout, end_stage[u.e], u.provider, of_worker,
                coalesce(sum(u.n) filter (where u.outcome = 'accepted'), 0),
                coalesce(sum(u.n) filter (where u.outcome = 'token_gone'), 0),
                coalesce(sum(u.n) filter (where u.outcome = 'rejected'), 0),
                coalesce(sum(u.n) filter (where u.outcome = 'throttled'), 0),
                coalesce(sum(u.n) filter (where u.outcome = 'unavailable'), 0),
                coalesce(sum(u.n) filter (where u.outcome = 'unknown'), 0),
                coalesce(sum(u.n) filter (where u.outcome = 'not_sent'), 0),
                coalesce(sum(u.n) filter (where u.outcome = 'credential_stop'), 0),
                coalesce(sum(u.n) filter (where u.outcome = 'expired'), 0),
                coalesce(sum(u.n) filter (where u.outcome = 'left_out'), 0),
                coalesce(sum(u.n) filter (where u.outcome = 'quiet_hours'), 0)
            from unnest(count_end, count_provider, count_outcome, count_n) u (e, provider, outcome, n)
            where recorded[u.e]
            group by end_stage[u.e], u.provider
            order by end_stage[u.e], u.provider
        on conflict (rollout, stage, provider, worker) do update set
            accepted = tally.accepted + excluded.accepted, token_gone = tally.token_gone + excluded.token_gone,
            rejected = tally.rejected + excluded.rejected, throttled = tally.throttled + excluded.throttled,
            unavailable = tally.unavailable + excluded.unavailable, unknown = tally.unknown + excluded.unknown,
            not_sent = tally.not_sent + excluded.not_sent,
            credential_stop = tally.credential_stop + excluded.credential_stop,
            expired = tally.expired + excluded.expired, left_out = tally.left_out + excluded.left_out,
            quiet_hours = tally.quiet_hours + excluded.quiet_hours;

        if cardinality(word_end) > 0 then
            insert into delivery_word (rollout, chunk, position, outcome, reason, at)
                select of_rollout, end_chunk[u.e], u.position, u.outcome, u.reason, now_micros
                from unnest(word_end, word_position, word_outcome, word_reason) u (e, position, outcome, reason)
                where recorded[u.e]
            on conflict (rollout, chunk, position) do update
                set outcome = excluded.outcome, reason = excluded.reason, at = excluded.at;
        end if;

        for place in 1 .. cardinality(wait_end) loop
            if recorded[wait_end[place]] then
                update claim c set retry_at = now_micros + wait_micros[place]
                    where c.rollout = of_rollout and c.chunk = end_chunk[wait_end[place]]
                        and (c.retry_at is null or c.retry_at < now_micros + wait_micros[place]);
            end if;
        end loop;
        for place in 1 .. cardinality(asleep_end) loop
            if recorded[asleep_end[place]] then
                update claim c set quiet_until = asleep_until[place]
                    where c.rollout = of_rollout and c.chunk = end_chunk[asleep_end[place]]
                        and (c.quiet_until is null or c.quiet_until > asleep_until[place]);
            end if;
        end loop;
    end if;

    -- Chunks that are done, with how many of their devices are to be tried again.
    for place in 1 .. cardinality(done_chunk) loop
        continue when claim_left[array_position(held_chunk, done_chunk[place])] is null;
        select k.n into strict many from chunk k where k.rollout = of_rollout and k.chunk = done_chunk[place];
        -- I7 nothing-lost: whoever calls a chunk done is not believed.
        perform from segment s where s.rollout = of_rollout and s.chunk = done_chunk[place]
            having count(*) = count(s.outcomes) and sum(octet_length(s.outcomes)) = many;
        if not found then
            raise exception 'chunk % is called done, and not all of it is recorded', done_chunk[place]
                using errcode = '23514';
        end if;
        select count(*) into many from segment s, generate_series(0, octet_length(s.outcomes) - 1) b (byte)
            where s.rollout = of_rollout and s.chunk = done_chunk[place]
                and get_byte(s.outcomes, b.byte) <> all (case when run.at_most_once then final_once else final_else end);
        update claim c set done_at = now_micros, deferred = many
            where c.rollout = of_rollout and c.chunk = done_chunk[place] and c.number = done_claim[place];
    end loop;

    -- Slow start. A stage that is over it stays over it, and none is opened behind the lock.
    for stage_row in
        select s.stage, s.in_flight, s.clean from stage s
            where s.rollout = of_rollout and not s.ramped and s.stage <= run.stage
                and (s.stage = any (end_stage) or s.stage = any (ask_stage))
            order by s.stage for update
    loop
        place := stage_row.stage + 1;
        select stage_row.in_flight - coalesce(sum(octet_length(end_outcomes[e])), 0) into many
            from generate_subscripts(end_chunk, 1) e where recorded[e] and end_stage[e] = stage_row.stage;
        under_way[place] := many;
        select stage_row.clean + coalesce(sum(u.n), 0) into many
            from unnest(count_end, count_outcome, count_n) u (e, outcome, n)
            where recorded[u.e] and end_stage[u.e] = stage_row.stage and u.outcome = 'accepted';
        so_clean[place] := many;
    end loop;

    granted := array[]::smallint[];
    for place in 1 .. cardinality(ask_chunk) loop
        if refusal is not null then
            granted[place] := case refusal when 'halted' then -1 when 'expired' then -2 else -3 end;
            continue;
        elsif ask_stage[place] > run.stage then
            granted[place] := -4;
            continue;
        elsif claim_left[array_position(held_chunk, ask_chunk[place])] is null then
            granted[place] := -5;
            continue;
        end if;
        granted[place] := ask_n[place];
        if ask_again[place] then
            -- What is intended already is under way already, and is as large as it is on record.
            select s.n into begun from segment s where s.rollout = of_rollout and s.chunk = ask_chunk[place]
                and s.segment = ask_segment[place] and s.outcomes is null;
            if found then
                if begun > ask_n[place] then
                    raise exception 'an intent of chunk % is for more than is asked again', ask_chunk[place]
                        using errcode = '23514';
                end if;
                granted[place] := begun;
                continue;
            end if;
        end if;
        many := ask_stage[place] + 1;
        if so_clean[many] is not null then
            room := start_first + so_clean[many] - under_way[many];
            if room <= 0 then
                granted[place] := -6;
            else
                granted[place] := least(ask_n[place], room);
                under_way[many] := under_way[many] + granted[place];
            end if;
        end if;
    end loop;

    if 0 < any (granted) then
        with intended as (
            insert into segment (rollout, chunk, segment, n, claim, epoch, at)
            select of_rollout, u.chunk, u.segment, u.n, u.claim, at_epoch, now_micros
                from unnest(ask_chunk, ask_segment, granted, ask_claim) u (chunk, segment, n, claim) where u.n > 0
            on conflict (rollout, chunk, segment) do update
                set claim = excluded.claim, epoch = excluded.epoch, at = excluded.at where segment.outcomes is null
            returning chunk, segment
        )
        -- Outcomes that came in meanwhile leave nothing to intend.
        select array_agg(case when u.n > 0 and i.chunk is null then -7 else u.n end order by u.place) into granted
            from unnest(ask_chunk, ask_segment, granted) with ordinality u (chunk, segment, n, place)
            left join intended i on i.chunk = u.chunk and i.segment = u.segment;
    end if;

    for place in 1 .. coalesce(array_upper(so_clean, 1), 0) loop
        if so_clean[place] is not null then
            update stage s set in_flight = greatest(under_way[place], 0), clean = so_clean[place],
                    ramped = so_clean[place] >= start_over
                where s.rollout = of_rollout and s.stage = place - 1;
        end if;
    end loop;

    -- Claims that have lost a quarter of their lease: each renewal moves an index entry, and exchanges are many.
    if refusal is null then
        for place in 1 .. cardinality(held_chunk) loop
            if claim_left[place] <= lease_micros / 4 * 3 then
                update claim c set until = now_micros + lease_micros
                    where c.rollout = of_rollout and c.chunk = held_chunk[place];
                claim_left[place] := lease_micros;
            end if;
        end loop;
    end if;
end
$$;
