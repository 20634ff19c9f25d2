-- What people are told of by the webhook: written with what it tells, gone once it is told.
create table notice (
    seq    bigint generated always as identity primary key,
    id     uuid   not null,
    -- Of one line the oldest is told first, and the others wait for it.
    line   text   not null,
    at     bigint not null,
    body   text   not null,
    tries  integer not null default 0 check (tries >= 0),
    due_at bigint not null
);

create index notice_in_line on notice (line, seq);

grant select, insert, update, delete on notice to bellwether_serving;
