use secrecy::ExposeSecret;

use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/bellwether/bellwether.toml"), text, |_| None)
}

const SMALLEST: &str = "[ledger]\nurl = \"postgres://db\"\n[amqp]\nurl = \"amqp://mq\"\n";

#[test]
fn the_smallest_file_has_every_default() {
    let config = parse(SMALLEST).expect("a configuration");
    assert_eq!(config.policy, Path::new("/etc/bellwether/audiences"));
    assert_eq!(config.direct.max_recipients.get(), 100);
    assert!(config.health_listen.ip().is_loopback());
}

#[test]
fn claims_and_the_ladder_can_be_shorter() {
    let short = "[direct]\nclaim_seconds = 7\nretry_seconds = [1, 2, 3, 4, 5]\n";
    let direct = parse(&format!("{SMALLEST}{short}")).expect("a configuration").direct;
    assert_eq!((direct.claim, direct.max_recipients), (Duration::from_secs(7), DEFAULT_MAX_RECIPIENTS));
    assert_eq!(direct.ladder.wait(Rung::Hour), Duration::from_secs(5));
    let rungs = parse(&format!("{SMALLEST}[direct]\nretry_seconds = [1, 2]\n")).expect_err("five rungs");
    assert!(rungs.to_string().contains("invalid length 2"), "{rungs}");
}

#[test]
fn the_environment_wins_for_addresses_with_secrets() {
    let variable = |name: &str| (name == "DATABASE_URL").then(|| "postgres://other".to_owned());
    let config = Config::parse(Path::new("x.toml"), SMALLEST, variable).expect("a configuration");
    assert_eq!(config.ledger_url.expose_secret(), "postgres://other");
    assert_eq!(config.amqp.url.expose_secret(), "amqp://mq");
}

#[test]
fn mistakes_name_file_line_and_key() {
    let message = |text: &str| parse(text).expect_err("must be refused").to_string();
    let typo = message(&format!("{SMALLEST}prefetch = 3\n"));
    assert!(typo.starts_with("/etc/bellwether/bellwether.toml:5: unknown field `prefetch`"), "{typo}");
    let zero = message(&format!("{SMALLEST}[direct]\nmax_recipients = 0\n"));
    let told = "/etc/bellwether/bellwether.toml:6: direct.max_recipients: invalid value: integer `0`, expected a nonzero";
    assert!(zero.starts_with(told), "{zero}");
    let kind = message(&format!("{SMALLEST}[api]\nrequests_per_second = \"many\"\n"));
    assert!(kind.contains(":6: api.requests_per_second: invalid type"), "{kind}");
    let syntax = message(&format!("{SMALLEST}[api\n"));
    assert!(syntax.contains("bellwether.toml:5: "), "{syntax}");
    let missing = message("[amqp]\nurl = \"amqp://mq\"\n");
    assert!(missing.contains("ledger.url is not set") && missing.contains("DATABASE_URL"), "{missing}");
}

#[test]
fn a_worker_s_settings_have_bounds_that_are_told() {
    let worker = |more: &str| parse(&format!("{SMALLEST}[worker]\n{more}\n"));
    let read = worker("streams = 5\nlease_seconds = 3").expect("a configuration").worker;
    assert_eq!((read.streams.get(), read.lease), (5, Duration::from_secs(3)));
    for (wrong, told) in [
        ("streams = 0", ":6: worker.streams is 0; write 1 to 20000"),
        ("streams = 20001", "write 1 to 20000"),
        ("lease_seconds = 2", ":6: worker.lease_seconds is 2; write 3 to 120 seconds"),
        ("lease_seconds = 121", "write 3 to 120"),
    ] {
        let error = worker(wrong).expect_err(wrong).to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn a_simulator_for_production_leaves_no_way_to_apple() {
    let apns = |more: &str| {
        let table = "[providers.\"pl.example.bank\".apns]\nkey_file = \"k.p8\"\nkey_id = \"K\"\n";
        let config = parse(&format!("{SMALLEST}{table}{more}")).expect("a configuration");
        let (_, providers) = config.providers.into_iter().next().expect("an app");
        providers.apns.expect("Apple is configured")
    };
    assert_eq!(apns("").sandbox(), Some(APPLE_SANDBOX));
    let elsewhere = apns("endpoint = \"https://localhost:1\"\n");
    assert_eq!((elsewhere.production(), elsewhere.sandbox()), ("https://localhost:1", None));
}

#[test]
fn secrets_are_not_printed() {
    let config =
        parse("[ledger]\nurl = \"postgres://u:hunter2@db\"\n[amqp]\nurl = \"amqp://u:hunter2@mq\"\n");
    assert!(!format!("{:?}", config.expect("a configuration")).contains("hunter2"));
}
