//! One suite, two engines: what the ledger promises holds on PostgreSQL (a fresh database for each test, on
//! the server of `DATABASE_URL`) and on SQLite (a file for each test).

mod audiences;
mod audit;
mod campaign_set;
mod campaigns;
mod days;
mod deferred;
mod direct;
mod doubt;
mod erasure;
mod findings;
mod fixtures;
mod importing;
mod keys;
mod leases;
mod mending;
mod migrations;
mod notices;
mod operators;
mod outbox;
mod past;
mod policies;
mod postgres_only;
mod proofs;
mod reach;
mod registrations;
mod registry;
mod schedules;
mod selection;
mod sleepers;
mod steering;
mod views;

#[path = "../../../tests/it/harness/database.rs"]
mod database;

use super::{Ledger, LedgerOptions};
use database::TestDatabase;

/// A ledger of one test's own. Fields drop in order: connections first, then the database.
pub(super) struct Store {
    pub(super) ledger: Ledger,
    url: String,
    keep: Keep,
}

enum Keep {
    Database(TestDatabase),
    #[expect(dead_code, reason = "held for its drop, which removes the folder")]
    Folder(tempfile::TempDir),
}

impl Store {
    async fn postgres() -> Self {
        let database = TestDatabase::create().await;
        Self::open(database.url(), Keep::Database(database)).await
    }

    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let store = Self::open(url, Keep::Folder(folder)).await;
        store.ledger.migrate().await.expect("the migrations apply");
        store
    }

    async fn open(url: String, keep: Keep) -> Self {
        let ledger = Ledger::connect(&url, LedgerOptions::default()).await.expect("the ledger answers");
        Self { ledger, url, keep }
    }

    /// The same ledger, as another process has it.
    async fn other_process(&self) -> Ledger {
        Ledger::connect(&self.url, LedgerOptions::default()).await.expect("the ledger answers")
    }

    /// Changes the database behind the ledger's back, as its owner.
    async fn tamper(&self, postgres: &str, sqlite: &str) {
        let done = match &self.ledger {
            Ledger::Postgres(store) => sqlx::raw_sql(postgres).execute(&store.pool).await.map(drop),
            Ledger::Sqlite(store) => sqlx::raw_sql(sqlite).execute(&store.writer).await.map(drop),
        };
        done.expect("the statement is right");
    }
}

macro_rules! on_both_engines {
    ($($module:ident: $($test:ident),+;)+) => {
        mod on_postgres {
            $($(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$module::$test(&super::Store::postgres().await).await;
            })+)+
        }
        mod on_sqlite {
            $($(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$module::$test(&super::Store::sqlite().await).await;
            })+)+
        }
    };
}

on_both_engines! {
    proofs:
        a_proof_is_a_finished_test_that_reached_somebody_and_counts_for_its_words;
    days:
        processes_never_reach_more_devices_of_a_day_than_a_producer_may,
        what_a_process_hands_back_is_given_to_another_and_saying_it_again_changes_nothing,
        a_stopped_producer_is_told_once_a_day_by_one_process;
    past:
        a_producers_day_is_what_its_direct_jobs_reached_and_its_campaigns_may,
        of_two_campaigns_beyond_a_producers_day_at_one_moment_the_second_is_judged_again,
        a_campaign_that_says_the_same_is_found_while_it_may_have_been_heard,
        of_two_equal_campaigns_at_one_moment_the_second_is_judged_again,
        what_was_stopped_for_what_it_is_is_remembered_by_producer;
    policies:
        a_shadow_begins_with_the_policy_that_first_has_it_and_ends_with_the_first_that_has_not,
        i3_the_first_policy_comes_into_force_by_itself_and_no_later_one_without_two_people,
        i8_people_widen_under_the_policy_in_force_and_void_what_was_approved_under_another;
    registry:
        migrating_twice_changes_nothing,
        a_read_finds_the_live_devices_of_those_who_are_named,
        a_token_moves_to_its_new_owner_and_the_old_one_has_none,
        registering_again_updates_and_revives,
        tags_and_attributes_are_kept_as_they_came_and_go_with_the_next_registration,
        a_later_registration_beats_the_providers_word,
        a_row_that_makes_no_sense_is_an_error_with_its_id;
    registrations:
        a_late_or_repeated_registration_changes_nothing,
        an_old_registration_raises_no_phone_from_the_dead,
        a_removal_that_names_a_person_takes_nobody_elses_phone,
        an_update_changes_what_it_names_and_the_rest_stays,
        one_phone_too_many_displaces_the_one_that_was_not_seen_for_longest;
    erasure:
        a_forgotten_person_is_left_out_of_a_campaign_and_still_counted,
        i12_of_a_forgotten_person_nothing_is_left_that_leads_there,
        whoever_comes_back_is_registered_anew_and_no_straggler_brings_them_back;
    importing:
        hostile_text_is_kept_as_it_came,
        an_import_tells_new_updated_moved_and_repeated_apart,
        an_import_revives_what_was_gone_and_leaves_its_version,
        an_import_leaves_nobody_with_too_many,
        imports_at_once_wait_for_each_other_and_leave_one_owner_a_token,
        a_stream_and_single_rows_leave_the_same_registry,
        an_import_that_fails_says_why_and_takes_no_more;
    direct:
        the_same_id_is_answered_from_the_record,
        a_key_is_free_again_after_thirty_days,
        a_second_try_is_merged_by_position,
        a_final_outcome_is_never_reopened,
        two_jobs_with_one_key_at_once_leave_the_first_on_record,
        at_most_once_is_on_record_before_it_is_sent,
        nothing_early_nothing_late,
        i5_a_halt_is_seen_by_the_next_read,
        refusals_are_told_and_audited,
        text_is_forgotten_after_its_time;
    keys:
        a_direct_job_with_a_campaigns_id_is_seen,
        a_campaign_with_a_direct_jobs_id_is_refused,
        a_campaigns_key_is_free_thirty_days_after_its_expiry,
        a_campaign_of_before_has_its_key_after_the_migration,
        of_two_lanes_at_once_one_has_the_key,
        another_at_most_once_job_with_the_same_id_is_told_apart_from_a_copy;
    deferred:
        i6_one_try_is_claimed_by_one_process,
        i6_a_commit_that_is_repeated_takes_no_claim_away,
        a_lapsed_claim_lets_the_job_be_taken_again,
        a_lapsed_at_most_once_job_is_given_up,
        a_stale_pointer_leads_nowhere,
        a_halted_job_waits,
        i9_an_expired_job_is_recorded_and_not_taken,
        i8_devices_that_are_gone_are_left_out,
        a_job_that_waited_for_its_hour_is_resolved_when_due,
        a_cancelled_job_is_not_sent;
    campaigns:
        i7_a_campaign_is_answered_from_the_record,
        i6_freezing_takes_each_device_once_and_our_own_people_first,
        i8_whoever_resumes_a_freeze_gets_the_same_lists,
        i5_an_older_term_changes_nothing,
        a_stage_is_opened_once_and_in_order,
        outcomes_go_in_and_retries_carry_what_is_not_final,
        i6_who_takes_over_sends_again_only_what_was_not_recorded,
        i6_under_at_most_once_what_is_in_doubt_is_left_alone,
        i8_who_left_since_is_left_out_and_nobody_is_added,
        i5_a_halt_ends_what_it_covers_and_nothing_else,
        i5_what_ended_after_a_halt_adds_up_over_the_workers,
        i7_a_chunk_of_which_something_is_left_is_not_done;
    operators:
        a_token_opens_what_it_names_until_it_is_over,
        i4_what_approves_needs_a_second_admin_who_is_neither_maker_nor_owner,
        the_ledger_gives_out_what_stops_and_what_looks_and_admins,
        names_that_read_alike_are_one_operator,
        i5_a_halt_of_everything_is_lifted_by_two,
        a_key_is_answered_once_and_stands_for_one_request;
    views:
        a_rollout_is_shown_as_the_coordinator_sees_it,
        who_paused_it_and_that_a_person_is_waited_for_is_shown,
        i5_a_halt_in_force_is_shown_on_what_it_keeps_from_starting,
        a_preview_says_what_is_on_record_in_words_and_numbers,
        a_preview_says_how_many_phones_ring_before_a_guard_sees_a_harm,
        a_plan_is_counted_before_there_is_a_campaign,
        what_a_guard_says_is_shown_by_its_name_and_number,
        a_page_of_ten_thousand_past_rollouts_is_read_off_an_index;
    findings:
        i3_nobody_approves_what_the_guard_holds_before_each_finding_is_accepted;
    leases:
        i11_leases_of_one_rate_never_overlap,
        i11_both_lanes_draw_on_one_row_and_campaigns_leave_the_reserve,
        a_throttle_lowers_the_row_for_whoever_leases_next,
        i11_a_rollout_that_follows_a_signal_is_given_what_was_noted_until_that_is_over;
    reach:
        two_processes_never_lease_more_of_a_text_than_its_limit_in_any_window,
        a_stopped_broadcast_is_told_once_a_window_by_one_process;
    selection:
        what_is_selected_is_what_a_plain_predicate_selects;
    audiences:
        a_count_is_what_a_freeze_takes_and_what_changed_since_is_told,
        what_went_first_and_what_a_plan_never_reaches_is_not_compared,
        half_a_plan_is_compared_with_half_an_audience,
        members_are_counted_as_they_are_frozen,
        page_by_page_is_the_whole,
        an_indexed_condition_is_read_by_its_index_and_no_other,
        an_estimate_is_near_and_says_what_it_stands_on,
        the_migration_reads_versions_as_registrations_do;
    doubt:
        i6_an_ask_whose_answer_was_lost_meets_its_own_intent;
    sleepers:
        i6_a_minutes_throttle_is_no_night_and_a_night_is_not_asked_about_every_minute,
        i9_a_night_that_outlasts_the_campaign_holds_it_until_its_expiry,
        devices_come_with_their_zones_where_these_are_asked_for;
    steering:
        i4_approvals_are_of_distinct_people_and_the_barred_are_refused,
        i8_approvals_that_count_together_are_of_one_digest,
        i8_approvals_that_waited_too_long_start_nothing,
        i5_nothing_starts_under_a_halt,
        i5_a_pause_ends_what_was_begun_before_it,
        at_a_gate_the_late_tail_goes_on_and_nothing_widens,
        a_breaker_is_a_fact_of_the_run_in_which_it_tripped,
        i6_a_retry_is_of_exactly_those_who_were_not_sent;
    mending:
        i6_a_correction_is_of_exactly_those_who_were_or_may_have_been_reached,
        nobody_is_mended_of_a_campaign_that_reached_nobody;
    schedules:
        whatever_happens_the_invariants_hold;
    outbox:
        each_event_is_handed_to_one_relay,
        a_dead_relays_events_are_handed_out_again;
    notices:
        of_one_rollout_the_oldest_is_told_first_and_others_do_not_wait_for_it,
        after_a_day_a_notice_is_given_up,
        a_notice_is_put_down_with_what_it_tells_and_once;
    audit:
        i10_tampering_is_found,
        i10_any_column_of_any_row_is_guarded,
        i10_a_removed_or_inserted_row_is_found_wherever_it_is,
        i10_a_rewritten_end_is_found_and_located_by_heads_that_were_kept,
        i10_the_chain_does_not_fork_under_concurrency,
        the_audit_is_append_only_for_its_owner_too;
}

#[tokio::test]
async fn a_ledger_in_memory_is_one_ledger() {
    let options = LedgerOptions::default();
    let ledger = Ledger::connect("sqlite::memory:", options).await.expect("it opens");
    assert!(!ledger.schema_is_current().await.expect("an answer"), "it is empty");
    ledger.migrate().await.expect("the migrations apply");
    ledger.import(vec![fixtures::phone("a", "1")]).await.expect("committed");
    let answer = fixtures::ask(&ledger, &fixtures::job("j", &["a"])).await;
    assert_eq!(answer.recipients[0].devices().len(), 1, "reads see what was written");
    let other = Ledger::connect("sqlite::memory:", options).await.expect("it opens");
    assert!(!other.schema_is_current().await.expect("an answer"), "another one is another one");
}
