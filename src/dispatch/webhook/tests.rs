//! What a receiver sees, and what becomes of notices that nobody takes.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex},
};

use aws_lc_rs::hmac;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::SecretString;
use tokio::net::TcpListener;

use super::*;
use crate::{
    config::Notify,
    ledger::{Issuer, LedgerOptions, MintedToken, NewOperatorToken},
    model::OperatorName,
};

const SECRET: &str = "a-secret-of-these-tests-alone";

/// How a receiver answers.
#[derive(Debug, Clone)]
enum Says {
    Status(StatusCode),
    Elsewhere(String),
    Nothing,
    WithoutEnd,
}

/// A post, as it arrived.
#[derive(Debug, Clone)]
struct Arrived {
    headers: HeaderMap,
    body: Bytes,
}

impl Arrived {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().expect("text")
    }

    /// What README tells receivers to do.
    fn is_signed(&self) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let (id, at) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let signed = [id.as_bytes(), b".", at.as_bytes(), b".", &self.body].concat();
        let told = self.header("webhook-signature").strip_prefix("v1,").expect("a version");
        hmac::verify(&key, &signed, &BASE64_STANDARD.decode(told).expect("Base64")).is_ok()
    }
}

/// A receiver: answers as it is told to, and then always well.
#[derive(Debug, Clone, Default)]
struct Receiver {
    says: Arc<Mutex<VecDeque<Says>>>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Receiver {
    async fn listen(says: impl IntoIterator<Item = Says>) -> (Self, String) {
        let receiver =
            Self { says: Arc::new(Mutex::new(says.into_iter().collect())), arrived: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hooks/bellwether", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(Self::take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, url)
    }

    async fn take(State(receiver): State<Self>, headers: HeaderMap, body: Bytes) -> Response {
        receiver.arrived.lock().expect("nobody panicked").push(Arrived { headers, body });
        let says = receiver.says.lock().expect("nobody panicked").pop_front();
        match says {
            None => StatusCode::NO_CONTENT.into_response(),
            Some(Says::Status(status)) => (status, "no").into_response(),
            Some(Says::Elsewhere(to)) => {
                (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
            }
            Some(Says::Nothing) => std::future::pending().await,
            Some(Says::WithoutEnd) => {
                let kilobyte = || Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1_024]));
                Body::from_stream(futures_util::stream::repeat_with(kilobyte)).into_response()
            }
        }
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().expect("nobody panicked").clone()
    }
}

/// A ledger in which something waits, and what posts it.
struct Desk {
    ledger: Ledger,
    webhook: Webhook,
    metrics: Metrics,
    clock: Clock,
}

impl Desk {
    async fn posting_to(url: &str) -> Self {
        // The program does this when it starts.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let ledger = Ledger::connect("sqlite::memory:", LedgerOptions::default()).await.expect("it opens");
        ledger.migrate().await.expect("the migrations apply");
        let folder = tempfile::tempdir().expect("a folder");
        let secret_file = folder.path().join("secret");
        std::fs::write(&secret_file, format!("{SECRET}\n")).expect("a file");
        let (webhook, clock) = (Some(SecretString::from(url)), Clock::system());
        let config = Notify { webhook, secret_file: Some(secret_file), ca_file: None };
        let webhook = Webhook::open(&config, clock.clone()).expect("it is right").expect("it is configured");
        Self { ledger, webhook, metrics: Metrics::new(), clock }
    }

    /// A token that waits for a second admin.
    async fn something_waits(&self, whose: &str) {
        let name = |name: &str| OperatorName::parse(name).expect("a name");
        let scopes = BTreeSet::from(["admin".parse().expect("a scope")]);
        let (operator, minted) = (name(whose), MintedToken::mint(&self.clock));
        let new = NewOperatorToken { operator: &operator, scopes: &scopes, lasts: Duration::from_hours(1) };
        let issued = self.ledger.issue_token(&new, &minted, Issuer::Admin(&name("root"))).await;
        issued.expect("the ledger answers").expect("it is made");
    }

    /// One round in which a failure is not waited for after.
    async fn round(&self) -> usize {
        let teller = Teller::new(&self.ledger, Some(&self.webhook), &self.metrics, &self.clock);
        Teller { first_wait: Duration::ZERO, ..teller }.round().await.expect("the ledger answers")
    }

    fn counted(&self, result: &str) -> bool {
        self.metrics.encode().contains(&format!("bellwether_webhook_total{{result=\"{result}\"}} 1\n"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_signed_says_what_waits_and_holds_nothing_private() {
    let (receiver, url) = Receiver::listen([]).await;
    let desk = Desk::posting_to(&url).await;
    assert_eq!(desk.round().await, 0, "nothing waits");
    desk.something_waits("ada").await;
    assert_eq!(desk.round().await, 1);
    assert_eq!(desk.round().await, 0, "told once");
    let [arrived] = <[Arrived; 1]>::try_from(receiver.arrived()).expect("one post");
    assert!(arrived.is_signed(), "{arrived:?}");
    let mut forged = arrived.clone();
    forged.body = Bytes::from(String::from_utf8_lossy(&forged.body).replace("ada", "eve"));
    assert!(!forged.is_signed());
    forged = arrived.clone();
    forged.headers.insert("webhook-timestamp", header::HeaderValue::from_static("1"));
    assert!(!forged.is_signed(), "also the time is signed");
    let body: serde_json::Value = serde_json::from_slice(&arrived.body).expect("JSON");
    assert_eq!((&body["type"], &body["operator"]), (&"token_unconfirmed".into(), &"ada".into()));
    assert_eq!(body["id"], arrived.header("webhook-id"));
    assert!(!body.to_string().contains("bw_"), "the token itself is nobody's business: {body}");
    assert!(desk.counted("told"), "{}", desk.metrics.encode());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_is_told_again_under_the_same_id() {
    let says = [Says::Status(StatusCode::INTERNAL_SERVER_ERROR), Says::Status(StatusCode::FORBIDDEN)];
    let (receiver, url) = Receiver::listen(says).await;
    let desk = Desk::posting_to(&url).await;
    desk.something_waits("ada").await;
    assert_eq!((desk.round().await, desk.round().await, desk.round().await), (0, 0, 1));
    let ids: BTreeSet<_> =
        receiver.arrived().iter().map(|arrived| arrived.header("webhook-id").to_owned()).collect();
    assert_eq!((receiver.arrived().len(), ids.len()), (3, 1));
    assert!(receiver.arrived().iter().all(Arrived::is_signed));
    assert!(desk.counted("failed") && desk.counted("refused") && desk.counted("told"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_refused_and_not_followed() {
    let (elsewhere, target) = Receiver::listen([]).await;
    let (receiver, url) = Receiver::listen([Says::Elsewhere(target)]).await;
    let desk = Desk::posting_to(&url).await;
    desk.something_waits("ada").await;
    assert_eq!(desk.round().await, 0);
    assert!(desk.counted("refused"));
    assert!(elsewhere.arrived().is_empty());
    assert_eq!(desk.round().await, 1, "it is told where it was configured");
    assert_eq!(receiver.arrived().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_loses_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let desk = Desk::posting_to(&format!("http://{address}/")).await;
    desk.something_waits("ada").await;
    assert_eq!(desk.round().await, 0);
    assert!(desk.counted("unreachable"));
    let due = desk.ledger.notices_due(10).await.expect("an answer");
    assert_eq!(due.iter().map(|notice| notice.tries).collect::<Vec<_>>(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_an_end_is_not_read_and_one_that_never_comes_holds_nobody_else_up() {
    let (receiver, url) = Receiver::listen([Says::WithoutEnd]).await;
    let desk = Desk::posting_to(&url).await;
    desk.something_waits("ada").await;
    let began = desk.clock.monotonic();
    assert_eq!(desk.round().await, 1, "its status was good");
    assert!(desk.clock.monotonic() - began < Duration::from_secs(4), "nobody read until the time was over");
    receiver.says.lock().expect("nobody panicked").push_back(Says::Nothing);
    desk.something_waits("bob").await;
    desk.something_waits("eve").await;
    let began = desk.clock.monotonic();
    assert_eq!(desk.round().await, 1, "the other of the two was told beside it");
    assert!(
        desk.clock.monotonic() - began < Duration::from_secs(8),
        "five seconds, and what a busy machine adds"
    );
    assert!(desk.counted("unreachable"));
}

#[test]
fn the_wait_doubles_within_bounds_and_nobody_waits_for_the_same() {
    let waits: Vec<_> = (0..40).map(|tries| wait(FIRST_WAIT, tries, 1_023)).collect();
    assert!(waits.is_sorted());
    assert!(waits[0] <= FIRST_WAIT && waits[0] > FIRST_WAIT / 2);
    assert!(waits[39] <= LONGEST_WAIT && waits[39] > LONGEST_WAIT * 9 / 10);
    assert_eq!(wait(FIRST_WAIT, 39, 0), LONGEST_WAIT / 2);
    assert_ne!(wait(FIRST_WAIT, 3, 1), wait(FIRST_WAIT, 3, 512));
}
