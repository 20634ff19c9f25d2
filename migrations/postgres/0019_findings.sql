-- What the guard has to say of a campaign. One that is held waits until a person has accepted each finding that holds it.

alter table campaign add column held boolean not null default false;

create table finding (
    rollout         bigint not null references rollout (id),
    -- As people name it: 1, 2, …, in the order of the guard's table.
    number          integer not null check (number > 0),
    -- As JSON, without the text that it is about; see src/model/events.rs.
    note            text not null,
    accepted_by     text,
    accepted_at     bigint,
    accepted_reason text,
    primary key (rollout, number),
    check ((accepted_by is null) = (accepted_at is null) and (accepted_by is null) = (accepted_reason is null))
);

grant select, insert on finding to bellwether_serving;
grant update (accepted_by, accepted_at, accepted_reason) on finding to bellwether_serving;
