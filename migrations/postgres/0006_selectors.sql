-- What audiences select by.

-- The app's version as a text that sorts by its bytes as versions do; see src/model/version.rs, whose rule the statement
-- below repeats for devices that are registered already. Empty: it is no version. Whoever writes app_version writes this.
alter table device add column version_key text collate "C";

update device set version_key = coalesce((
    -- `run` is [the numbers with their dots, what follows, if that begins with a dash].
    with run as (select regexp_match(app_version, '^[vV]?(\d+(?:\.\d+)*)(-?)') as part),
    number as (
        select place, coalesce(nullif(ltrim(digits, '0'), ''), '0') as digits
        from run, unnest(string_to_array(run.part[1], '.')) with ordinality as u (digits, place)
    )
    select case when max(length(digits)) <= 26 then
        coalesce(string_agg(chr(96 + length(digits)) || digits, '' order by place)
            filter (where place <= (select max(place) from number where digits <> '0')), '')
        || (select case when part[2] = '-' then '0' else '1' end from run) end
    from number
), '') where app_version is not null;

alter table device add constraint device_version_key
    check ((app_version is null) = (version_key is null));

-- An index costs each registration 2 to 7 µs of the server's CPU. The one by last_seen_at was the dearest, changed with every
-- opening of an app, and served what selects few devices rarely.
drop index device_seen;
create index device_app_version on device (app, version_key, bucket, id) where gone_at is null;
