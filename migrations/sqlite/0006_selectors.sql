-- The same on SQLite; see PostgreSQL's file. A check over two columns cannot be added to a table here.
alter table device add column version_key text;

update device set version_key = coalesce((
    with text (version) as (
        select case when substr(app_version, 1, 1) in ('v', 'V') then substr(app_version, 2) else app_version end
    ),
    run (numbers, dash) as (
        select substr(version, 1, length(version) - length(ltrim(version, '0123456789.'))),
            substr(ltrim(version, '0123456789.'), 1, 1) = '-'
        from text
    ),
    part (place, digits) as (
        select p.key, p.value from run, json_each('["' || replace(numbers, '.', '","') || '"]') p
    ),
    -- A dot without a number ends the numbers.
    number (place, digits) as (
        select place, coalesce(nullif(ltrim(digits, '0'), ''), '0') from part
        where place < coalesce((select min(place) from part where digits = ''), 1000)
    )
    select case when max(length(digits)) <= 26 then
        coalesce((
            select group_concat(char(96 + length(digits)) || digits, '' order by place) from number
            where place <= (select max(place) from number where digits <> '0')
        ), '')
        || (select case when dash and not exists (select 1 from part where digits = '') then '0' else '1' end from run) end
    from number
), '') where app_version is not null;

drop index device_seen;
create index device_app_version on device (app, version_key, bucket, id) where gone_at is null;
