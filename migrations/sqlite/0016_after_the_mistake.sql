-- After a mistake; see the migration of the same name for PostgreSQL.
alter table campaign add column after_of integer references campaign (id);
alter table campaign add column after_how text
    check (after_how in ('correct', 'supersede') and (after_how is null) = (after_of is null));
create index campaign_after on campaign (after_of) where after_of is not null;

alter table segment add column doubted integer not null default 0;
