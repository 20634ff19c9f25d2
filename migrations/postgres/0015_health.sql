-- Health: a worker that sees evidence cross its bound says so, because what crossed once counts, whatever comes after it.
alter table breaker drop constraint breaker_kind_check;
alter table breaker add constraint breaker_kind_check
    check (kind in ('credentials', 'rejections', 'provider_down', 'health'));
