-- What the guard has to say of a campaign. One that is held waits until a person has accepted each finding that holds it.

alter table campaign add column held integer not null default 0;

create table finding (
    rollout         integer not null references rollout (id),
    -- As people name it: 1, 2, …, in the order of the guard's table.
    number          integer not null check (number > 0),
    -- As JSON, without the text that it is about; see src/model/events.rs.
    note            text not null,
    accepted_by     text,
    accepted_at     integer,
    accepted_reason text,
    primary key (rollout, number),
    check ((accepted_by is null) = (accepted_at is null) and (accepted_by is null) = (accepted_reason is null))
);
