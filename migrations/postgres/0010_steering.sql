-- Steering: where a rollout stands, whole, as src/rollout/machine has it; and who approved it.

-- Who submitted it by hand; null: it came by AMQP, and its producer is the requester.
alter table campaign add column requester text;

alter table rollout
    -- Why it is paused.
    add column pause text check (pause in ('manual', 'gate', 'inconclusive', 'no_data', 'credentials', 'provider_down')),
    -- Where one that waits goes on: before its first stage, or in the stage that was opened last.
    add column held text check (held in ('start', 'running', 'baking')),
    -- Of an approved one: a person has started it, or nobody needs to.
    add column started boolean not null default true,
    -- Of one that is watched: a person has opened the gate behind its stage.
    add column promoted boolean not null default false,
    -- How many people must approve it, who may not, and who has (JSON lists of names).
    add column people smallint not null default 0 check (people >= 0),
    add column barred text not null default '[]',
    add column approved text not null default '[]',
    -- When the first of these approvals is too old to start on.
    add column approvals_until bigint,
    -- The policy that it was approved under; null: the one that cleared it.
    add column policy bytea check (octet_length(policy) = 32),
    -- Requests may leave. At a gate the late tail goes on.
    add column sends boolean not null generated always as
        (state in ('running', 'baking') or (state = 'paused' and pause is not distinct from 'gate')) stored;

alter table rollout add constraint rollout_paused_why check ((state = 'paused') = (pause is not null));

-- Every approval that was ever given, of exactly this digest.
create table approval (
    rollout   bigint not null references rollout (id),
    operator  text   not null,
    at        bigint not null,
    digest    bytea  not null check (octet_length(digest) = 32),
    reason    text,
    until     bigint not null,
    -- When it ceased to hold, and why.
    voided_at bigint,
    voided_by text,
    primary key (rollout, operator, at),
    check ((voided_at is null) = (voided_by is null))
);

-- One person counts once, however often they ask.
create unique index approval_holds on approval (rollout, operator) where voided_at is null;

grant select, insert, update on approval to bellwether_serving;

-- The exchange asks `sends`, where it asked for one state.
do $$
declare
    body text := pg_get_functiondef('segment_exchange'::regproc);
    asked constant text := 'select r.state, r.epoch,';
    judged constant text := 'run.state <> ''running'' or';
begin
    if position(asked in body) = 0 or position(judged in body) = 0 then
        raise exception 'segment_exchange is not what this migration changes';
    end if;
    execute replace(replace(body, asked, 'select r.state, r.sends, r.epoch,'), judged, 'not run.sends or');
end
$$;
