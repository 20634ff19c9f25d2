// The case `name: file, what is replaced => by what, the line that is told`; included by `tests.rs`.
mistakes! {
    an_unknown_app: "cohorts/qa.toml", "\"pl.example.bank\"" => "\"pl.example.bnak\"",
        "?";
    a_producer_s_unknown_app: "producers.toml", "[\"pl.example.bank\"]" => "[\"pl.example.bank\", \"nope\"]",
        "?";
    a_producer_s_unknown_audience: "producers.toml", "\"staff\"" => "\"stuff\"",
        "?";
    an_audience_whose_app_the_producer_may_not_use: "producers.toml", "[\"pl.example.bank\"]" => "[\"other\"]",
        "?";
    an_unknown_intent: "producers.toml", "\"test\"]" => "\"tset\"]",
        "?";
    no_owner: "producers.toml", "[\"lead\"]" => "[]",
        "?";
    the_same_app_twice: "producers.toml", "[\"pl.example.bank\"]" => "[\"other\", \"other\"]",
        "?";
    an_unknown_scope: "producers.toml", "direct_limit = 20" => "scopes = [\"phones\"]",
        "?";
    a_declared_text_that_matches_anything: "producers.toml", "Your code is {code}" => "{code}",
        "?";
    a_declared_text_with_an_open_placeholder: "producers.toml", "{code}" => "{code",
        "?";
    a_declared_text_without_a_limit: "producers.toml", "max_users = 100" => "max_users = 0",
        "?";
    a_declared_text_without_a_window: "producers.toml", "\"10m\"" => "\"10 minutes\"",
        "?";
    a_negative_limit: "producers.toml", "direct_limit = 20" => "direct_limit = -1",
        "?";
    a_test_audience_that_selects: "cohorts/qa.toml", "[limits]" => "[select]\ncountry = [\"PL\"]\n[limits]",
        "?";
    a_test_audience_without_members: "cohorts/qa.toml", "members_file = \"qa.txt\"\n" => "",
        "?";
    a_test_audience_above_the_cap: "cohorts/qa.toml", "= 50" => "= 501",
        "?";
    more_testers_than_devices: "cohorts/qa.toml", "= 50" => "= 1",
        "?";
    a_members_file_outside_the_folder: "cohorts/qa.toml", "\"qa.txt\"" => "\"../qa.txt\"",
        "?";
    a_members_file_that_is_not_there: "cohorts/qa.toml", "\"qa.txt\"" => "\"qb.txt\"",
        "?";
    a_member_that_is_no_user_id: "cohorts/qa.txt", "qa-2" => "qa\u{7}-2",
        "?";
    a_members_file_with_nobody: "cohorts/qa.txt", "qa-1\n# a comment\n\nqa-2\n" => "",
        "?";
    a_production_audience_that_lists: "cohorts/customers.toml", "[select]" => "members_file = \"staff.txt\"\n[select]",
        "?";
    a_production_audience_that_finds_nobody_by_condition: "cohorts/customers.toml", "country = [\"PL\"]\nlast_seen_within = \"90d\"\n" => "",
        "?";
    a_production_audience_without_a_selection: "cohorts/customers.toml", "[select]\ncountry = [\"PL\"]\nlast_seen_within = \"90d\"\n" => "",
        "?";
    a_production_audience_without_approvals: "cohorts/customers.toml", "approvals = [ { above = 0, people = 1 }, { above = 1_000, people = 2 } ]" => "",
        "?";
    a_production_audience_with_nobody_from_zero: "cohorts/customers.toml", "above = 0" => "above = 10",
        "?";
    approvals_that_fall: "cohorts/customers.toml", "people = 2" => "people = 0",
        "?";
    approvals_out_of_order: "cohorts/customers.toml", "1_000, people" => "0, people",
        "?";
    an_empty_condition: "cohorts/customers.toml", "[\"PL\"]" => "[]",
        "?";
    a_country_that_is_no_code: "cohorts/customers.toml", "\"PL\"" => "\"Poland\"",
        "?";
    a_condition_that_is_not_known: "cohorts/customers.toml", "country" => "cuontry",
        "?";
    an_internal_audience_of_two_minds: "cohorts/staff.toml", "[limits]" => "[select]\ncountry = [\"PL\"]\n[limits]",
        "?";
    an_internal_audience_of_nobody: "cohorts/staff.toml", "members_file = \"staff.txt\"\n" => "",
        "?";
    a_class_that_is_not_known: "cohorts/staff.toml", "\"internal\"" => "\"intern\"",
        "?";
    a_default_plan_that_is_not_there: "cohorts/staff.toml", "\"cautious\"" => "\"brave\"",
        "?";
    a_default_plan_of_another_app: "cohorts/customers.toml", "\"pl.example.bank\"" => "\"other\"",
        "?";
    a_first_stage_of_customers: "plans/cautious.toml", "\"staff\"" => "\"customers\"",
        "?";
    a_first_stage_of_nobody: "plans/cautious.toml", "\"staff\"" => "\"stuff\"",
        "?";
    our_own_people_last: "plans/cautious.toml", "percent = 100" => "audience = \"staff\"",
        "?";
    a_share_that_shrinks: "plans/cautious.toml", "percent = 100" => "percent = 0.5",
        "?";
    a_share_above_everyone: "plans/cautious.toml", "percent = 100" => "percent = 101",
        "?";
    a_count_after_a_share: "plans/cautious.toml", "percent = 100" => "devices = 10",
        "?";
    a_stage_that_takes_nobody: "plans/cautious.toml", "percent = 1\n" => "bake = \"1m\"\n",
        "?";
    a_stage_that_takes_in_two_ways: "plans/cautious.toml", "percent = 1\n" => "percent = 1\ndevices = 5\n",
        "?";
    no_stage_at_all: "plans/cautious.toml", "stage]]\naudience" => "stoge]]\naudience",
        "?";
    a_bake_without_a_unit: "plans/cautious.toml", "\"5m\"" => "\"5\"",
        "?";
    a_gate_that_is_not_known: "plans/cautious.toml", "\"manual\"" => "\"closed\"",
        "?";
    a_rate_of_nothing: "plans/cautious.toml", "max_rate = 2000" => "max_rate = 0",
        "?";
    health_upside_down: "plans/cautious.toml", "p1 = 0.01" => "p1 = 0.001",
        "?";
    a_chance_above_one: "plans/cautious.toml", "alpha = 0.001" => "alpha = 1",
        "?";
    a_guard_that_never_halts: "plans/cautious.toml", "halt_above = 0.8\n" => "",
        "?";
    a_guard_without_a_source: "plans/cautious.toml", "prometheus = \"up\"\n" => "",
        "?";
    a_guard_that_goes_on_unseeing: "plans/cautious.toml", "for = \"30s\"" => "for = \"30s\"\nno_data = \"go on\"",
        "?";
    a_signal_that_is_not_defined: "plans/cautious.toml", "\"headroom\"" => "\"hedroom\"",
        "?";
    a_pace_upside_down: "plans/cautious.toml", "min = 50" => "min = 5000",
        "?";
    quiet_hours_that_are_no_hours: "plans/cautious.toml", "\"22:00\"" => "\"25:00\"",
        "?";
    quiet_hours_without_length: "plans/cautious.toml", "\"22:00\"" => "\"07:00\"",
        "?";
    an_app_without_a_provider: "apps.toml", "fcm = { project = \"other\", max_rate = 10 }\n" => "",
        "?";
    a_time_zone_that_is_none: "apps.toml", "\"Europe/Warsaw\"" => "\"Europe/Warsawa\"",
        "?";
    a_locale_that_is_none: "apps.toml", "\"pl\"" => "\"pl_PL\"",
        "?";
    a_link_host_with_a_scheme: "apps.toml", "\"bank.example.pl\"" => "\"https://bank.example.pl\"",
        "?";
    a_topic_that_breaks_a_header: "apps.toml", "topic = \"pl.example.bank\"" => "topic = \"pl example\"",
        "?";
    a_team_that_is_none: "apps.toml", "TEAM123456" => "TEAM",
        "?";
    an_environment_that_is_none: "apps.toml", "\"production\"" => "\"prod\"",
        "?";
    a_project_that_breaks_a_path: "apps.toml", "\"bank-prod\"" => "\"bank/prod\"",
        "?";
    a_signal_without_a_pointer: "apps.toml", "json = \"/headroom\"\n" => "",
        "?";
    a_pointer_that_is_none: "apps.toml", "\"/headroom\"" => "\"headroom\"",
        "?";
    a_typing_mistake_in_a_field: "apps.toml", "max_rate = 9_000" => "max_rates = 9_000",
        "?";
    a_wrong_type: "apps.toml", "max_rate = 9_000" => "max_rate = \"fast\"",
        "?";
}
