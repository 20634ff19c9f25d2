use std::io::Write as _;

use super::*;
use crate::simulator::{Fault, Provider, Simulator, SimulatorConfig};

fn account(simulator: &Simulator) -> (Arc<AccessToken>, Clock) {
    let folder = tempfile::tempdir().expect("a folder");
    let files = simulator.write_credentials(folder.path()).expect("it can be written to");
    // Slow, so that it can be moved without running ahead of the simulator's clock.
    let clock = Clock::manual(Clock::system().now() - Duration::from_mins(20), 1);
    let token = AccessToken::load(&files.service_account, Some(&files.ca), clock.clone());
    (Arc::new(token.expect("a good account")), clock)
}

async fn simulator(lifetime: u64) -> Simulator {
    let mut config = SimulatorConfig::quiet(Clock::system());
    config.access_token_lifetime = Duration::from_secs(lifetime);
    Simulator::start(config).await.expect("loopback has free ports")
}

#[tokio::test]
async fn it_is_fetched_once_and_renewed_in_the_background_before_it_expires() {
    let simulator = simulator(1_000).await;
    let (token, clock) = account(&simulator);
    let first = token.authorization().await.expect("a token");
    assert!(first.is_sensitive());
    assert_eq!(token.authorization().await.expect("a token"), first);
    assert_eq!(simulator.requests(), 1);

    clock.advance(Duration::from_secs(1_000 - 300));
    assert_eq!(token.authorization().await.expect("a token"), first, "nobody waits for the renewal");
    simulator.wait_for_requests(2, Duration::from_secs(20)).await.expect("it is renewed");
    let renewed = async {
        while token.authorization().await.expect("a token") == first {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), renewed).await.expect("a new token");
    assert_eq!(simulator.requests(), 2);
}

#[tokio::test]
async fn one_that_has_expired_is_waited_for() {
    let simulator = simulator(1_000).await;
    let (token, clock) = account(&simulator);
    let first = token.authorization().await.expect("a token");
    clock.advance(Duration::from_secs(1_000));
    assert_ne!(token.authorization().await.expect("a token"), first);
}

#[tokio::test]
async fn a_failure_is_remembered_for_a_moment_so_that_a_crowd_asks_once() {
    let simulator = simulator(1_000).await;
    let (token, clock) = account(&simulator);
    simulator.inject(Fault::answer(503, "unavailable").on(Provider::OAuth));
    let unavailable = Err(NoAccess::Unavailable(Reason::new("token_endpoint_503")));
    assert_eq!(token.authorization().await, unavailable);
    assert_eq!(token.authorization().await, unavailable);
    assert_eq!(simulator.requests(), 1);
    clock.advance(FAILURE_PAUSE);
    assert!(token.authorization().await.is_ok());
}

#[test]
fn an_account_that_cannot_be_used_names_its_file_and_not_its_content() {
    let account = |key: &str, uri: &str| {
        serde_json::json!({"client_email": "SECRET@x", "private_key": key, "token_uri": uri}).to_string()
    };
    for content in [
        String::new(),
        "SECRET".to_owned(),
        "{}".to_owned(),
        r#"{"private_key": "SECRET"}"#.to_owned(),
        account("SECRET", "https://localhost/token"),
        account("SECRET", "http://localhost/token"),
    ] {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(content.as_bytes()).expect("it can be written to");
        let error = AccessToken::load(file.path(), None, Clock::system()).expect_err("must be refused");
        let error = error.to_string();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
        assert!(error.contains("service account") && !error.contains("SECRET"), "{error}");
    }
}
