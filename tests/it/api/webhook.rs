//! Approvers are told that something waits for them.

use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::net::TcpListener;

use super::*;

const SECRET: &str = "a-secret-of-this-test-alone";

/// A post, as it arrived.
#[derive(Debug, Clone)]
struct Arrived {
    id: String,
    body: Value,
}

/// A receiver that never answers the first post of a campaign, answers the second badly, and then takes everything.
#[derive(Debug, Clone, Default)]
struct Receiver {
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Receiver {
    async fn listen() -> (Self, String) {
        let receiver = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/approvals", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(Self::take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, url)
    }

    async fn take(State(receiver): State<Self>, headers: HeaderMap, body: Bytes) -> StatusCode {
        let header = |name: &str| headers[name].to_str().expect("text").to_owned();
        let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let signature = header("webhook-signature");
        let signature = BASE64_STANDARD.decode(signature.trim_start_matches("v1,")).expect("Base64");
        let signed = [id.as_bytes(), b".", at.as_bytes(), b".", &body].concat();
        if hmac::verify(&key, &signed, &signature).is_err() {
            return StatusCode::FORBIDDEN;
        }
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let is_of_a_campaign = body["campaign"].is_string();
        let before = receiver.of_campaigns().len();
        receiver.arrived.lock().expect("nobody panicked").push(Arrived { id, body });
        match before {
            0 if is_of_a_campaign => std::future::pending().await,
            1 if is_of_a_campaign => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::NO_CONTENT,
        }
    }

    fn of_campaigns(&self) -> Vec<Arrived> {
        let all = self.arrived.lock().expect("nobody panicked").clone();
        all.into_iter().filter(|arrived| arrived.body["campaign"].is_string()).collect()
    }

    /// Waits for so many posts about campaigns.
    async fn told(&self, count: usize) -> Vec<Arrived> {
        eventually("somebody is told", async || {
            Some(self.of_campaigns()).filter(|arrived| arrived.len() >= count)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn approvers_are_told_in_order_and_again_under_the_same_id_by_whoever_follows_a_killed_process() {
    let (receiver, url) = Receiver::listen().await;
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).expect("a file");
    let notify = format!("notify.webhook = {url:?}\nnotify.secret_file = {:?}\n", secret.to_string_lossy());
    let mut office = Office::open(&format!("api.requests_per_second = 1000\n{notify}")).await;
    let (_, rita) = office.token("rita", &["enqueue:production", "promote"]).await;
    let (_, ada) = office.token("ada", &["approve:customers"]).await;
    let (_, bob) = office.token("bob", &["approve:customers"]).await;
    let campaign = office.submitted(&rita, "spring").await;

    // The receiver has it and says nothing: whoever told it dies, and whoever follows tells it again.
    receiver.told(1).await;
    let next = office.stage.serve().await;
    std::mem::replace(&mut office.serving, next).kill().await;
    receiver.told(3).await;

    // Nobody who was told late was held up: people go on meanwhile.
    let right = office.approval(&ada, &campaign).await;
    for approver in [&ada, &bob] {
        office.post(approver, &format!("rollouts/{campaign}/approve"), &right).await.ok();
    }
    let told = receiver.told(4).await;
    let types: Vec<_> =
        told.iter().map(|arrived| arrived.body["type"].as_str().unwrap_or_default()).collect();
    assert_eq!(types, ["approval_needed", "approval_needed", "approval_needed", "start_needed"]);
    assert!(told.iter().all(|arrived| arrived.body["campaign"] == campaign.as_str()));
    assert!(told[..3].iter().all(|arrived| arrived.id == told[0].id) && told[3].id != told[0].id);
    assert_eq!((&told[0].body["people"], &told[0].body["devices"]), (&json!(2), &json!(3)));
    // I12: who, where and how many; not what it says, nor to whom.
    let all = format!("{told:?}");
    assert!(["Nowa aplikacja", "anna", "spring", "bw_"].iter().all(|word| !all.contains(word)), "{all}");
    let logged = office.serving.log();
    assert!(!logged.contains("/approvals") && !logged.contains(SECRET), "the address is a secret, too");
    eventually("it is counted", async || {
        let told = office.serving.metric("bellwether_webhook_total", &["result=\"told\""]).await;
        let oldest = office.serving.metric("bellwether_webhook_oldest_seconds", &[]).await;
        (told >= 2.0 && oldest < 0.5).then_some(())
    })
    .await;
    assert!(office.serving.stop().await.success());
}
