-- Two roles. The migrating role owns everything. Whoever serves is a login role of the operator's choice
-- that is a member of `bellwether_serving`, which can neither change the schema nor rewrite the audit.
--
-- The role belongs to the whole server, and several databases may be migrated at once: whoever comes second
-- finds it there.

do $$
begin
    if not exists (select from pg_roles where rolname = 'bellwether_serving') then
        create role bellwether_serving nologin;
    end if;
exception
    when duplicate_object or unique_violation then
        null;
    when insufficient_privilege then
        raise exception 'this role may not create roles; have an administrator run once: CREATE ROLE bellwether_serving NOLOGIN'
            using errcode = 'insufficient_privilege';
end
$$;

grant select, insert, update on device, token_owner to bellwether_serving;
grant delete on token_owner to bellwether_serving;
grant usage on sequence device_id_seq to bellwether_serving;
grant select, insert, update on direct_job, failure_word to bellwether_serving;
grant select, insert, update, delete on outbox, halt to bellwether_serving;
-- No update, no delete, no truncate.
grant select, insert on audit to bellwether_serving;
grant select on meta to bellwether_serving;
-- So that `serve` can tell an old schema.
grant select on _sqlx_migrations to bellwether_serving;
