//! The operators' API of a real served process: what it allows, what it refuses, and what it survives.

mod audit;
mod commands;
mod contract;
mod halts;
mod held;
mod hostile;
mod peak;
mod policy;
mod proven;
mod races;
mod tokens;
mod verbs;
mod webhook;

use std::{collections::BTreeSet, time::Duration};

use bellwether::{
    api::wire::Scope,
    clock::Clock,
    ledger::{Issuer, Ledger, MintedToken, NewOperatorToken},
    model::OperatorName,
    simulator::SimulatorConfig,
};
use jiff::SignedDuration;
use reqwest::{Client, Method};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::harness::{
    broker::{eventually, within},
    service::{APP, Serving, Stage, TestPhone},
};

/// The production audience of these tests: two people approve it.
const AUDIENCE: &str = "customers";

/// Every scope that there is.
const SCOPES: [&str; 8] = [
    "enqueue:test",
    "enqueue:production",
    "approve:customers",
    "promote",
    "halt",
    "policy",
    "audit",
    "admin",
];

/// A served process with its operators.
struct Office {
    stage: Stage,
    serving: Serving,
    ledger: Ledger,
    http: Client,
    /// Two admins, made by break-glass.
    root: String,
    grace: String,
}

/// What the API said.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    status: u16,
    body: Value,
    retry_after: Option<u64>,
}

impl Answer {
    #[track_caller]
    fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body
    }

    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// A problem of this kind, as RFC 9457 has it.
    #[track_caller]
    fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{self:?}");
        assert_eq!(self.body["status"], json!(status));
        assert!(self.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
    }
}

fn scopes(words: &[&str]) -> BTreeSet<Scope> {
    words.iter().map(|word| word.parse().expect("a scope")).collect()
}

async fn break_glass(ledger: &Ledger, name: &str) -> String {
    let name = OperatorName::parse(name).expect("a name");
    let scopes = scopes(&["admin", "halt", "audit"]);
    let new = NewOperatorToken { operator: &name, scopes: &scopes, lasts: Duration::from_hours(1) };
    let minted = MintedToken::mint(&Clock::system());
    let issued = ledger.issue_token(&new, &minted, Issuer::BreakGlass(&name)).await;
    issued.expect("the ledger answers").expect("the scopes are break-glass");
    minted.into_secret().expose_secret().to_owned()
}

impl Office {
    /// With further lines of configuration, such as `api.requests_per_second = 1`.
    async fn open(configuration: &str) -> Self {
        Self::with(configuration, |_| ()).await
    }

    /// The same, with something changed in the policy's folder before it is served.
    async fn with(configuration: &str, change: impl FnOnce(&std::path::Path)) -> Self {
        let stage = Stage::with(SimulatorConfig::quiet(Clock::system()), configuration).await;
        let policy = stage.folder().join("audiences");
        let write = |path: &str, text: &str| std::fs::write(policy.join(path), text).expect("a policy file");
        write(
            &format!("cohorts/{AUDIENCE}.toml"),
            &format!(
                "class = \"production\"\napp = \"{APP}\"\ndefault_plan = \"swift\"\n[select]\ncountry = [\"PL\"]\n\
                 [limits]\nmax_devices = 1_000\napprovals = [{{ above = 0, people = 2 }}]\n"
            ),
        );
        write(
            "plans/swift.toml",
            "[[stage]]\naudience = \"staff\"\nbake = \"1s\"\ngate = \"time\"\n[[stage]]\npercent = 100\n",
        );
        let producers = policy.join("producers.toml");
        let text = std::fs::read_to_string(&producers).expect("producers.toml");
        let ours = format!(
            "[producers.spring]\nowners = [\"rita\", \"owen\"]\napps = [\"{APP}\"]\nintents = [\"production\"]\n\
             audiences = [\"{AUDIENCE}\"]\n"
        );
        std::fs::write(&producers, format!("{text}\n{ours}")).expect("producers.toml");
        change(&policy);
        stage
            .register(&[TestPhone::ios("staff-0001"), TestPhone::ios("anna"), TestPhone::android("jan")])
            .await;
        let (serving, ledger) = (stage.serve().await, stage.ledger().await);
        let (root, grace) = (break_glass(&ledger, "root").await, break_glass(&ledger, "grace").await);
        Self { stage, serving, ledger, http: Client::new(), root, grace }
    }

    fn url(&self) -> String {
        format!("http://{}", self.serving.api().expect("it has an API"))
    }

    /// Asks, with a token and perhaps a key.
    async fn asked(
        &self,
        (method, path): (Method, &str),
        token: &str,
        key: Option<&str>,
        body: Option<String>,
    ) -> Answer {
        let mut request =
            self.http.request(method, format!("{}/api/v1/{path}", self.url())).bearer_auth(token);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let answer = within(path, request.send()).await.expect("the API answers");
        let retry_after =
            answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let status = answer.status().as_u16();
        let text = within(path, answer.text()).await.expect("a text");
        Answer { status, retry_after, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    async fn get(&self, token: &str, path: &str) -> Answer {
        self.asked((Method::GET, path), token, None, None).await
    }

    async fn post(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.asked((Method::POST, path), token, None, Some(body.to_string())).await
    }

    /// Makes a token, and has it confirmed where that is needed. Its id and itself.
    async fn token(&self, name: &str, scopes: &[&str]) -> (String, String) {
        let body = json!({ "operator": name, "scopes": scopes, "days": 1 });
        let issued = self.post(&self.root, "operators", &body).await.ok();
        let id = issued["token"]["id"].as_str().expect("an id").to_owned();
        if issued["token"]["usable"] == json!(false) {
            self.post(&self.grace, &format!("operators/tokens/{id}/confirm"), &json!({})).await.ok();
        }
        (id, issued["secret"].as_str().expect("a token").to_owned())
    }

    /// A campaign of rita's.
    fn job(id: &str, body: &str) -> Value {
        let expires = Clock::system().now() + SignedDuration::from_hours(2);
        json!({"v": 1, "id": id, "app": APP, "intent": "production", "expires_at": expires.to_string(),
               "to": {"audience": AUDIENCE, "at_most": 50}, "notification": {"title": "Bank", "body": body}})
    }

    /// Submits a campaign and waits until it is frozen; its id.
    async fn submitted(&self, rita: &str, id: &str) -> String {
        let job = Self::job(id, &format!("Nowa aplikacja, {id}"));
        let answer = self.post(rita, "campaigns", &job).await.ok();
        let campaign = answer["campaign"].as_str().expect("an id").to_owned();
        self.reaches(rita, &campaign, "pending_approval").await;
        campaign
    }

    /// Waits until a rollout stands there.
    async fn reaches(&self, token: &str, campaign: &str, state: &str) -> Value {
        eventually(state, async || {
            let view = self.get(token, &format!("rollouts/{campaign}")).await;
            if view.status == 429 {
                return None;
            }
            Some(view.ok()).filter(|view| view["state"] == json!(state))
        })
        .await
    }

    /// What an approver types, as the rollout stands.
    async fn approval(&self, token: &str, campaign: &str) -> Value {
        let view = self.get(token, &format!("rollouts/{campaign}")).await.ok();
        json!({ "digest": view["digest"], "count": view["frozen"], "audience": view["audience"] })
    }
}
