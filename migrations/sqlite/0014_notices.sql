-- What people are told of by the webhook; see the migration of the same name for PostgreSQL.
create table notice (
    -- Never used twice: what is told later has a higher number, also when everything before it is gone.
    seq    integer primary key autoincrement,
    id     blob    not null,
    line   text    not null,
    at     integer not null,
    body   text    not null,
    tries  integer not null default 0 check (tries >= 0),
    due_at integer not null
) strict;

create index notice_in_line on notice (line, seq);
