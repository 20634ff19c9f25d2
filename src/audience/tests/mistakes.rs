//! One case a mistake: its name, the file, what is replaced by what, and the line that a person reads.

use super::refused;

mistakes! {
    an_unknown_app: "cohorts/qa.toml", "\"pl.example.bank\"" => "\"pl.example.bnak\"",
        "cohorts/qa.toml:2: app: names the app pl.example.bnak, which apps.toml does not describe; describe it there, or correct the name";
    a_producer_s_unknown_app: "producers.toml", "[\"pl.example.bank\"]" => "[\"pl.example.bank\", \"nope\"]",
        "producers.toml:3: producers.cards.apps[1]: names the app nope, which apps.toml does not describe; describe it there, or correct the name";
    a_producer_s_unknown_audience: "producers.toml", "\"staff\"" => "\"stuff\"",
        "producers.toml:5: producers.cards.audiences[1]: names the audience stuff, which is not in cohorts/; add it there, or correct the name";
    an_audience_whose_app_the_producer_may_not_use: "producers.toml", "[\"pl.example.bank\"]" => "[\"other\"]",
        "producers.toml:5: producers.cards.audiences[0]: names the audience customers, whose app pl.example.bank this producer may not use; add the app to apps, or leave the audience out\nproducers.toml:5: producers.cards.audiences[1]: names the audience staff, whose app pl.example.bank this producer may not use; add the app to apps, or leave the audience out";
    an_unknown_intent: "producers.toml", "\"test\"]" => "\"tset\"]",
        "producers.toml:4: producers.cards.intents[1]: \"tset\" is not known here; write \"test\" or \"production\"";
    no_owner: "producers.toml", "[\"lead\"]" => "[]",
        "producers.toml:2: producers.cards.owners: is empty; name at least one person who answers for it";
    the_same_app_twice: "producers.toml", "[\"pl.example.bank\"]" => "[\"other\", \"other\"]",
        "producers.toml:3: producers.cards.apps: names the same thing twice; leave one of them out";
    an_unknown_scope: "producers.toml", "direct_limit = 20" => "scopes = [\"phones\"]",
        "producers.toml:6: producers.cards.scopes[0]: \"phones\" is not known here; write \"devices\"";
    a_declared_text_that_matches_anything: "producers.toml", "Your code is {code}" => "{code}",
        "producers.toml:8: producers.cards.direct_text[0].text: has so little fixed text that it would match anything; write at least 4 fixed letters";
    a_declared_text_with_an_open_placeholder: "producers.toml", "{code}" => "{code",
        "producers.toml:8: producers.cards.direct_text[0].text: opens a placeholder that is not closed; write {name}";
    a_declared_text_without_a_limit: "producers.toml", "max_users = 100" => "max_users = 0",
        "producers.toml:9: producers.cards.direct_text[0].max_users: is 0; write at least 1";
    a_declared_text_without_a_window: "producers.toml", "\"10m\"" => "\"10 minutes\"",
        "producers.toml:10: producers.cards.direct_text[0].within: \"10 minutes\" is no duration; write a number and s, m, h or d, such as \"5m\"";
    a_negative_limit: "producers.toml", "direct_limit = 20" => "direct_limit = -1",
        "producers.toml:6: producers.cards.direct_limit: is not a whole number that is not negative; write a whole number that is not negative";
    a_test_audience_that_selects: "cohorts/qa.toml", "[limits]" => "[select]\ncountry = [\"PL\"]\n[limits]",
        "cohorts/qa.toml:4: select: cannot stand in a test-class audience: a query could match customers; list the testers in members_file";
    a_test_audience_without_members: "cohorts/qa.toml", "members_file = \"qa.txt\"\n" => "",
        "cohorts/qa.toml: lists no members; write members_file = \"….txt\", one user id a line";
    a_test_audience_above_the_cap: "cohorts/qa.toml", "= 50" => "= 501",
        "cohorts/qa.toml:5: limits.max_devices: is 501, and a test-class audience has at most 500 devices; write at most 500";
    more_testers_than_devices: "cohorts/qa.toml", "= 50" => "= 1",
        "cohorts/qa.toml:5: limits.max_devices: is 1, but 2 people are listed; raise the limit, or list fewer people";
    a_members_file_outside_the_folder: "cohorts/qa.toml", "\"qa.txt\"" => "\"../qa.txt\"",
        "cohorts/qa.toml:3: members_file: \"../qa.txt\" is no text file beside this one; write the name of a .txt file in cohorts/, without a path";
    a_members_file_that_is_not_there: "cohorts/qa.toml", "\"qa.txt\"" => "\"qb.txt\"",
        "cohorts/qa.toml:3: members_file: names cohorts/qb.txt, which is not there; add the file, one user id a line";
    a_member_that_is_no_user_id: "cohorts/qa.txt", "qa-2" => "qa\u{7}-2",
        "cohorts/qa.txt:4: is no user id; write 1 to 128 characters, one id a line";
    a_members_file_with_nobody: "cohorts/qa.txt", "qa-1\n# a comment\n\nqa-2\n" => "",
        "cohorts/qa.txt: lists nobody; write one user id a line";
    a_production_audience_that_lists: "cohorts/customers.toml", "[select]" => "members_file = \"staff.txt\"\n[select]",
        "cohorts/customers.toml:5: members_file: cannot stand in a production audience: it is whoever [select] finds; write [select], or class = \"internal\" for a list of people";
    a_production_audience_that_finds_nobody_by_condition: "cohorts/customers.toml", "country = [\"PL\"]\nlast_seen_within = \"90d\"\n" => "",
        "cohorts/customers.toml:5: select: has no condition; write at least one; platform = [\"ios\", \"android\"] is everyone";
    a_production_audience_without_a_selection: "cohorts/customers.toml", "[select]\ncountry = [\"PL\"]\nlast_seen_within = \"90d\"\n" => "",
        "cohorts/customers.toml: says nowhere who is in it; write [select] with at least one condition";
    a_production_audience_without_approvals: "cohorts/customers.toml", "approvals = [ { above = 0, people = 1 }, { above = 1_000, people = 2 } ]" => "",
        "cohorts/customers.toml:8: limits: has no approvals, and a production audience needs at least one person; write approvals = [ { above = 0, people = 1 } ]";
    a_production_audience_with_nobody_from_zero: "cohorts/customers.toml", "above = 0" => "above = 10",
        "cohorts/customers.toml:10: limits.approvals: leave small campaigns of a production audience without an approver; begin with { above = 0, people = 1 }";
    approvals_that_fall: "cohorts/customers.toml", "people = 2" => "people = 0",
        "cohorts/customers.toml:10: limits.approvals: do not rise: above 1000 after above 0; order them by count; more devices never need fewer people";
    approvals_out_of_order: "cohorts/customers.toml", "1_000, people" => "0, people",
        "cohorts/customers.toml:10: limits.approvals: do not rise: above 0 after above 0; order them by count; more devices never need fewer people";
    an_empty_condition: "cohorts/customers.toml", "[\"PL\"]" => "[]",
        "cohorts/customers.toml:6: select.country: is empty, so nobody is found; list a value, or leave the condition out";
    a_country_that_is_no_code: "cohorts/customers.toml", "\"PL\"" => "\"Poland\"",
        "cohorts/customers.toml:6: select.country[0]: \"Poland\" is no country code; write two upper-case letters (ISO 3166-1), such as \"PL\"";
    a_condition_that_is_not_known: "cohorts/customers.toml", "country" => "cuontry",
        "cohorts/customers.toml:6: select.cuontry: is not a field that is known here; write one of country, platform, language, timezone, app_version, tags, tags_all, attributes, last_seen_within, not_seen_within, registered_within, scan";
    a_version_that_is_compared_with_nothing: "cohorts/customers.toml", "country = [\"PL\"]" => "app_version = \"5.2\"",
        "cohorts/customers.toml:6: select.app_version: \"5.2\" is no bound on a version; write a bound, such as \">=5.2\" or \">=5.2, <6\"";
    a_version_that_is_none: "cohorts/customers.toml", "country = [\"PL\"]" => "app_version = \">=5, <next\"",
        "cohorts/customers.toml:6: select.app_version: \"<next\" is no bound on a version; write a bound, such as \">=5.2\" or \">=5.2, <6\"";
    versions_that_exclude_each_other: "cohorts/customers.toml", "country = [\"PL\"]" => "app_version = \">=5.10, <5.9\"",
        "cohorts/customers.toml:6: select.app_version: \">=5.10, <5.9\" is within no version; write a bound, such as \">=5.2\" or \">=5.2, <6\"";
    a_tag_that_no_device_can_have: "cohorts/customers.toml", "country = [\"PL\"]" => "country = [\"PL\"]\ntags = [\"a;b\"]",
        "cohorts/customers.toml:7: select.tags[0]: has a tag that is not 1 to 64 bytes without control characters, ';' or space around it; write a tag as devices are registered with";
    an_attribute_that_is_a_list: "cohorts/customers.toml", "country = [\"PL\"]" => "country = [\"PL\"]\nattributes = { tier = [\"gold\"] }",
        "cohorts/customers.toml:7: select.attributes.tier: is not a text, a number, or true or false; write a text, a number, or true or false";
    an_attribute_that_no_device_can_have: "cohorts/customers.toml", "country = [\"PL\"]" => "country = [\"PL\"]\nattributes = { \"1\" = 1 }",
        "cohorts/customers.toml:7: select.attributes: has a name that is not a letter and up to 31 letters, digits, '_' or '-'; write names and values as devices are registered with";
    a_number_that_is_not_exact: "cohorts/customers.toml", "country = [\"PL\"]" => "country = [\"PL\"]\nattributes = { a = 9007199254740993 }",
        "cohorts/customers.toml:7: select.attributes.a: is not a number up to 2^53; write a number up to 2^53";
    no_attribute_at_all: "cohorts/customers.toml", "country = [\"PL\"]" => "country = [\"PL\"]\nattributes = {}",
        "cohorts/customers.toml:7: select.attributes: is empty; write a name and its value, or leave the condition out";
    seen_and_not_seen: "cohorts/customers.toml", "country = [\"PL\"]" => "country = [\"PL\"]\nnot_seen_within = \"90d\"",
        "cohorts/customers.toml:5: select: finds nobody: who was seen within last_seen_within was seen within not_seen_within; let not_seen_within be the shorter";
    a_scan_without_a_word: "cohorts/customers.toml", "country = [\"PL\"]" => "tags = [\"beta\"]\nlanguage = [\"de\"]",
        "cohorts/customers.toml:5: select: reads every device of the app and throws most away, because no index serves language or tags; add a condition on country or app_version, or argue: scan = \"why it is all right\"";
    a_scan_for_whoever_came_today: "cohorts/customers.toml", "country = [\"PL\"]\nlast_seen_within = \"90d\"" => "last_seen_within = \"1d\"",
        "cohorts/customers.toml:5: select: reads every device of the app and throws most away, because no index serves last_seen_within; add a condition on country or app_version, or argue: scan = \"why it is all right\"";
    a_scan_that_is_argued_by_nothing: "cohorts/customers.toml", "country = [\"PL\"]" => "tags = [\"beta\"]\nscan = \" \"",
        "cohorts/customers.toml:7: select.scan: is empty; write a text";
    an_internal_audience_of_two_minds: "cohorts/staff.toml", "[limits]" => "[select]\ncountry = [\"PL\"]\n[limits]",
        "cohorts/staff.toml:4: members_file: stands beside [select]; keep one of the two";
    an_internal_audience_of_nobody: "cohorts/staff.toml", "members_file = \"staff.txt\"\n" => "",
        "cohorts/staff.toml: says nowhere who is in it; write members_file or [select]";
    a_class_that_is_not_known: "cohorts/staff.toml", "\"internal\"" => "\"intern\"",
        "cohorts/staff.toml:1: class: \"intern\" is not known here; write \"test\" or \"internal\" or \"production\"";
    a_default_plan_that_is_not_there: "cohorts/staff.toml", "\"cautious\"" => "\"brave\"",
        "cohorts/staff.toml:3: default_plan: names the plan brave, which is not in plans/; add it there, or correct the name";
    a_default_plan_of_another_app: "cohorts/customers.toml", "\"pl.example.bank\"" => "\"other\"",
        "cohorts/customers.toml:3: default_plan: names the plan cautious, whose first stage (staff) has another app, pl.example.bank; choose a plan that begins with people of this app\nproducers.toml:5: producers.cards.audiences[0]: names the audience customers, whose app other this producer may not use; add the app to apps, or leave the audience out";
    a_first_stage_of_customers: "plans/cautious.toml", "\"staff\"" => "\"customers\"",
        "plans/cautious.toml:2: stage[0].audience: names the audience customers, whose class is production; let an internal audience go first";
    a_first_stage_of_nobody: "plans/cautious.toml", "\"staff\"" => "\"stuff\"",
        "plans/cautious.toml:2: stage[0].audience: names the audience stuff, which is not in cohorts/; add it there, or correct the name";
    customers_who_see_it_first: "plans/cautious.toml", "audience = \"staff\"" => "devices = 10",
        "plans/cautious.toml: is the plan of customers, and nobody of our own sees what it sends first; begin with [[stage]] audience = \"…\", or argue: customers_first = \"why it is all right\"";
    a_stage_of_no_device: "plans/cautious.toml", "percent = 1\n" => "devices = 0\n",
        "plans/cautious.toml:6: stage[1].devices: is 0; write at least 1";
    a_stage_of_no_share: "plans/cautious.toml", "percent = 1\n" => "percent = 0\n",
        "plans/cautious.toml:6: stage[1].percent: is 0, which is no share of an audience; write 0.01 to 100, in steps of 0.01";
    a_share_of_openers_above_everyone: "apps.toml", "fcm = { project = \"bank-prod\"" => "opens = { share = 8, median_delay = \"90s\" }\nfcm = { project = \"bank-prod\"",
        "apps.toml:6: apps.\"pl.example.bank\".opens.share: is 8, which is no share; write the share of those who are rung that open the app, such as 0.08";
    our_own_people_last: "plans/cautious.toml", "percent = 100" => "audience = \"staff\"",
        "plans/cautious.toml:7: stage[2]: takes the audience staff, and it is not the first stage; let our own people go first; later stages take percent or devices";
    a_share_that_shrinks: "plans/cautious.toml", "percent = 100" => "percent = 0.5",
        "plans/cautious.toml:7: stage[2]: takes 0.5 %, which is no more than the stage before it; let each stage take more of the audience than the last";
    a_share_above_everyone: "plans/cautious.toml", "percent = 100" => "percent = 101",
        "plans/cautious.toml:8: stage[2].percent: is 101, which is no share of an audience; write 0.01 to 100, in steps of 0.01";
    a_count_after_a_share: "plans/cautious.toml", "percent = 100" => "devices = 10",
        "plans/cautious.toml:7: stage[2]: takes a count of devices after a stage that takes a percentage; put counted stages first";
    a_stage_that_takes_nobody: "plans/cautious.toml", "percent = 1\n" => "bake = \"1m\"\n",
        "plans/cautious.toml:5: stage[1]: must say in one way whom it takes; write one of audience, percent, devices";
    a_stage_that_takes_in_two_ways: "plans/cautious.toml", "percent = 1\n" => "percent = 1\ndevices = 5\n",
        "plans/cautious.toml:5: stage[1]: must say in one way whom it takes; write one of audience, percent, devices";
    no_stage_at_all: "plans/cautious.toml", "stage]]\naudience" => "stoge]]\naudience",
        "plans/cautious.toml:1: stoge: is not a field that is known here; write one of stage, health, breakers, downstream, pace, quiet_hours, avoid_quarter_hours, customers_first";
    a_bake_without_a_unit: "plans/cautious.toml", "\"5m\"" => "\"5\"",
        "plans/cautious.toml:3: stage[0].bake: \"5\" is no duration; write a number and s, m, h or d, such as \"5m\"";
    a_gate_that_is_not_known: "plans/cautious.toml", "\"manual\"" => "\"closed\"",
        "plans/cautious.toml:4: stage[0].gate: \"closed\" is not known here; write \"auto\" or \"manual\" or \"time\"";
    a_rate_of_nothing: "plans/cautious.toml", "max_rate = 2000" => "max_rate = 0",
        "plans/cautious.toml:9: stage[2].max_rate: is 0, which is no rate; write notifications a second, 1 to 10000000";
    health_upside_down: "plans/cautious.toml", "p1 = 0.01" => "p1 = 0.001",
        "plans/cautious.toml:11: health.rejected: calls p1 healthier than p0; let p0 (healthy) be less than p1 (not healthy)";
    a_chance_above_one: "plans/cautious.toml", "alpha = 0.001" => "alpha = 1",
        "plans/cautious.toml:11: health.rejected.alpha: is 1; write a share between 0 and 1, such as 0.002";
    a_guard_that_never_halts: "plans/cautious.toml", "halt_above = 0.8\n" => "",
        "plans/cautious.toml:12: downstream[0]: never stops anything; write halt_above, halt_below, pause_above or pause_below";
    a_guard_on_both_sides: "plans/cautious.toml", "halt_above = 0.8" => "halt_above = 0.8\npause_below = 0.1",
        "plans/cautious.toml:12: downstream[0]: stops on both sides of its number; write a [[downstream]] for each side";
    a_guard_that_pauses_after_it_halted: "plans/cautious.toml", "halt_above = 0.8" => "halt_above = 0.8\npause_above = 0.9",
        "plans/cautious.toml:12: downstream[0]: pauses above 0.9, where it has halted already (above 0.8); let it pause before it halts, or leave one of the two out";
    a_guard_that_pauses_as_it_halts: "plans/cautious.toml", "halt_above = 0.8" => "halt_below = 0.8\npause_below = 0.8",
        "plans/cautious.toml:12: downstream[0]: pauses below 0.8, where it has halted already (below 0.8); let it pause before it halts, or leave one of the two out";
    a_bound_that_is_no_number: "plans/cautious.toml", "halt_above = 0.8" => "pause_above = \"0.8\"",
        "plans/cautious.toml:15: downstream[0].pause_above: is not a number; write a number";
    a_bound_that_nothing_is_beyond: "plans/cautious.toml", "halt_above = 0.8" => "halt_above = inf",
        "plans/cautious.toml:15: downstream[0].halt_above: is not a number; write a number";
    two_guards_of_one_name: "plans/cautious.toml", "[pace]" => "[[downstream]]\nname = \"login\"\nprometheus = \"down\"\nhalt_above = 0\nfor = \"0s\"\n[pace]",
        "plans/cautious.toml:18: downstream[1].name: is \"login\", as another of this plan is; give each a name of its own";
    a_guard_with_a_password: "plans/cautious.toml", "prometheus = \"up\"" => "http = \"https://u:secret@status.example.pl/\"\njson = \"/a\"",
        "plans/cautious.toml:14: downstream[0].http: holds a user or a password; leave them out: everybody may read a policy";
    a_guard_without_a_source: "plans/cautious.toml", "prometheus = \"up\"\n" => "",
        "plans/cautious.toml:12: downstream[0]: needs one source for its number; write prometheus = \"…\", or http = \"…\" with json = \"/…\"";
    a_guard_that_goes_on_unseeing: "plans/cautious.toml", "for = \"30s\"" => "for = \"30s\"\nno_data = \"go on\"",
        "plans/cautious.toml:17: downstream[0].no_data: \"go on\" is not known here; write \"pause\" or \"halt\"";
    a_signal_that_is_not_defined: "plans/cautious.toml", "\"headroom\"" => "\"hedroom\"",
        "plans/cautious.toml:18: pace.signal: names the signal \"hedroom\", which apps.toml does not define; define it there under [signals], or correct the name";
    a_pace_upside_down: "plans/cautious.toml", "min = 50" => "min = 5000",
        "plans/cautious.toml:17: pace: has a min above its max; let min be the smaller";
    quiet_hours_that_are_no_hours: "plans/cautious.toml", "\"22:00\"" => "\"25:00\"",
        "plans/cautious.toml:22: quiet_hours.from: \"25:00\" is no hour; write hours and minutes, such as \"22:00\"";
    quiet_hours_without_length: "plans/cautious.toml", "\"22:00\"" => "\"07:00\"",
        "plans/cautious.toml:21: quiet_hours: begin and end at the same hour; leave quiet_hours out, or choose two hours";
    an_app_without_a_provider: "apps.toml", "fcm = { project = \"other\", max_rate = 10 }\n" => "",
        "apps.toml:7: apps.other: has neither apns nor fcm; say how a provider knows it, or no device can be reached";
    a_time_zone_that_is_none: "apps.toml", "\"Europe/Warsaw\"" => "\"Europe/Warsawa\"",
        "apps.toml:3: apps.\"pl.example.bank\".timezone: \"Europe/Warsawa\" is no time zone; write an IANA name, such as \"Europe/Warsaw\"";
    a_locale_that_is_none: "apps.toml", "\"pl\"" => "\"pl_PL\"",
        "apps.toml:2: apps.\"pl.example.bank\".default_locale: locale \"pl_PL\" is not allowed: a language tag such as `de` or `de-AT` (BCP 47); choose a name that follows this rule";
    a_link_host_with_a_scheme: "apps.toml", "\"bank.example.pl\"" => "\"https://bank.example.pl\"",
        "apps.toml:4: apps.\"pl.example.bank\".link_hosts[0]: \"https://bank.example.pl\" is no host; write a host in lower case, without scheme, port or path";
    a_shadow_over_a_rule_that_always_decides: "apps.toml", "fcm = { project = \"bank-prod\", max_rate = 9_000 }" => "fcm = { project = \"bank-prod\", max_rate = 9_000 }\nguard = { shadow = [\"test-to-production\"] }",
        "apps.toml:7: apps.\"pl.example.bank\".guard.shadow[0]: \"test-to-production\" is a rule that is never in shadow: it always decides; write some of production-to-test, environment, unfilled-template, staging-link, contagion, duplicate-campaign, proof-missing, language-mismatch";
    a_shadow_over_no_rule: "apps.toml", "fcm = { project = \"bank-prod\", max_rate = 9_000 }" => "fcm = { project = \"bank-prod\", max_rate = 9_000 }\nguard = { shadow = [\"stagin-link\"] }",
        "apps.toml:7: apps.\"pl.example.bank\".guard.shadow[0]: \"stagin-link\" is no rule of the guard; write some of production-to-test, environment, unfilled-template, staging-link, contagion, duplicate-campaign, proof-missing, language-mismatch";
    a_window_without_a_length: "apps.toml", "fcm = { project = \"bank-prod\", max_rate = 9_000 }" => "fcm = { project = \"bank-prod\", max_rate = 9_000 }\nguard = { duplicate_within = \"0s\" }",
        "apps.toml:7: apps.\"pl.example.bank\".guard.duplicate_within: \"0s\" is no duration; write more than zero";
    a_topic_that_breaks_a_header: "apps.toml", "topic = \"pl.example.bank\"" => "topic = \"pl example\"",
        "apps.toml:5: apps.\"pl.example.bank\".apns.topic: \"pl example\" is no topic; write the bundle id, such as \"pl.example.bank\"";
    a_team_that_is_none: "apps.toml", "TEAM123456" => "TEAM",
        "apps.toml:5: apps.\"pl.example.bank\".apns.team: \"TEAM\" is no team id; write the 10 upper-case letters and digits of the developer account";
    an_environment_that_is_none: "apps.toml", "\"production\"" => "\"prod\"",
        "apps.toml:5: apps.\"pl.example.bank\".apns.environment: \"prod\" is not known here; write \"production\" or \"sandbox\"";
    a_project_that_breaks_a_path: "apps.toml", "\"bank-prod\"" => "\"bank/prod\"",
        "apps.toml:6: apps.\"pl.example.bank\".fcm.project: \"bank/prod\" is no project id; write its lower-case letters, digits and '-'";
    a_signal_without_a_pointer: "apps.toml", "json = \"/headroom\"\n" => "",
        "apps.toml:12: signals.headroom: needs one source for its number; write prometheus = \"…\", or http = \"…\" with json = \"/…\"";
    a_pointer_that_is_none: "apps.toml", "\"/headroom\"" => "\"headroom\"",
        "apps.toml:14: signals.headroom.json: \"headroom\" is no JSON pointer; begin with '/', such as \"/headroom\" (RFC 6901)";
    a_typing_mistake_in_a_field: "apps.toml", "max_rate = 9_000" => "max_rates = 9_000",
        "apps.toml:6: apps.\"pl.example.bank\".fcm.max_rate: is missing; write the most notifications a second that the provider may get\napps.toml:6: apps.\"pl.example.bank\".fcm.max_rates: is not a field that is known here; write one of project, max_rate";
    a_wrong_type: "apps.toml", "max_rate = 9_000" => "max_rate = \"fast\"",
        "apps.toml:6: apps.\"pl.example.bank\".fcm.max_rate: is not a whole number that is not negative; write a whole number that is not negative";
}
