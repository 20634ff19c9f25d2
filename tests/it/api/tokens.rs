//! Who opens what.

use std::process::Stdio;

use bellwether::{clock::Clock, ledger::Issuer, model::OperatorName};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::process::Command;

use super::*;

impl Office {
    /// A command of a person with this token.
    fn command(&self, token: &str, arguments: &[&str]) -> Command {
        let mut command = self.stage.command(arguments);
        command.env("BELLWETHER_URL", self.url()).env("BELLWETHER_TOKEN", token).stdin(Stdio::null());
        command
    }

    async fn run(&self, token: &str, arguments: &[&str]) -> (i32, String, String) {
        let output = within("a command", self.command(token, arguments).output()).await.expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_a_revoked_and_an_unknown_token_open_nothing() {
    let office = Office::open("").await;
    let whoami = async |token: &str| office.get(token, "whoami").await;
    let (id, good) = office.token("ada", &["halt"]).await;
    assert_eq!(whoami(&good).await.ok()["operator"], "ada");

    let (name, scopes) = (OperatorName::parse("ada").expect("a name"), scopes(&["halt"]));
    let new = NewOperatorToken { operator: &name, scopes: &scopes, lasts: Duration::ZERO };
    let minted = MintedToken::mint(&Clock::system());
    let issued = office.ledger.issue_token(&new, &minted, Issuer::BreakGlass(&name)).await;
    issued.expect("an answer").expect("issued");
    let expired = whoami(minted.into_secret().expose_secret()).await;
    expired.refused(401, "not_authenticated");
    assert!(expired.body["detail"].as_str().is_some_and(|detail| detail.contains("expired")));

    let path = format!("operators/tokens/{id}");
    // One's own token can be taken away by oneself; another's takes an admin.
    let (other, _) = office.token("eve", &[]).await;
    let others = format!("operators/tokens/{other}");
    office.asked((Method::DELETE, &others), &good, None, None).await.refused(403, "not_allowed");
    office.asked((Method::DELETE, &path), &good, None, None).await.ok();
    whoami(&good).await.refused(401, "not_authenticated");
    for wrong in ["", "bw_", "bw_0123456789abcdef_AAAA", "' or 1=1 --", &good.replace("bw_", "")] {
        whoami(wrong).await.refused(401, "not_authenticated");
    }
    let log = office.serving.log();
    let secret = good.splitn(3, '_').nth(2).expect("it has three parts");
    assert!(!log.contains(secret), "i12: the log has no token");
    assert!(office.serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_scope_opens_its_own_and_nothing_else() {
    let office = Office::open("api.requests_per_second = 1000\n").await;
    let id = "6f1c9a34-6d0a-8d3e-9b5c-0d9d5b8a7e11";
    let mut tokens = Vec::new();
    for (n, scope) in SCOPES.iter().enumerate() {
        let (_, token) =
            office.token(&format!("person-{}", ["a", "b", "c", "d", "e", "f", "g", "h"][n]), &[*scope]).await;
        tokens.push((*scope, token));
    }
    let (_, rita) = office.token("rita", &["enqueue:production"]).await;
    let campaign = office.submitted(&rita, "looked-at").await;
    let verb = |verb: &str| format!("rollouts/{campaign}/{verb}");
    let cases: Vec<(Method, String, Value, &[&str])> = vec![
        (Method::GET, "operators".into(), Value::Null, &["admin"]),
        (Method::POST, "operators".into(), json!({"operator": "x", "scopes": [], "days": 1}), &["admin"]),
        (Method::POST, "operators/tokens/0123456789abcdef/confirm".into(), json!({}), &["admin"]),
        (Method::DELETE, "operators/tokens/0123456789abcdef".into(), Value::Null, &["admin"]),
        (Method::DELETE, "operators/nobody".into(), Value::Null, &["admin"]),
        (Method::POST, "halts".into(), json!({"scope": "app:none", "reason": "no"}), &["halt"]),
        (Method::POST, "halts/lift".into(), json!({"scope": "all"}), &["halt"]),
        (Method::GET, verb("preview"), Value::Null, &["approve:customers", "promote", "audit"]),
        (
            Method::POST,
            verb("approve"),
            json!({"digest": "", "count": 0, "audience": ""}),
            &["approve:customers"],
        ),
        (Method::POST, verb("reject"), json!({"reason": "no"}), &["approve:customers"]),
        (Method::POST, verb("start"), json!({}), &["promote"]),
        (Method::POST, verb("pause"), json!({}), &["promote"]),
        (Method::POST, verb("resume"), json!({}), &["promote"]),
        (Method::POST, verb("promote"), json!({}), &["promote"]),
        (Method::POST, format!("rollouts/{id}/abort"), json!({"reason": "no"}), &["promote"]),
        (Method::POST, "campaigns".into(), Office::job("x", "x"), &["enqueue:production"]),
    ];
    for (method, path, body, opens) in cases {
        for (scope, token) in &tokens {
            let body = (!body.is_null()).then(|| body.to_string());
            let answer = office.asked((method.clone(), &path), token, None, body).await;
            let allowed = opens.contains(scope);
            // The guard, and the lack of a name that is a producer's, refuse as well: those say so otherwise.
            assert_eq!(answer.status != 403, allowed, "{method} {path} with {scope}: {answer:?}");
        }
        let body = (!body.is_null()).then(|| body.to_string());
        let stranger = office.asked((method.clone(), &path), "", None, body).await;
        // The eleventh is refused for being the eleventh.
        assert!([401, 429].contains(&stranger.status), "{method} {path}: {stranger:?}");
    }
    let labels = ["verb=\"start\"", "code=\"not_allowed\""];
    assert!(office.serving.metric("bellwether_api_requests_total", &labels).await > 6.5, "seven of eight");
    assert!(office.serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_an_approver_takes_two_admins_and_no_puppet_is_one() {
    let office = Office::open("").await;
    let make = async |by: &str, name: &str, scopes: &[&str]| {
        let body = json!({ "operator": name, "scopes": scopes, "days": 1 });
        office.post(by, "operators", &body).await.ok()
    };
    let confirm = async |by: &str, id: &Value| {
        let path = format!("operators/tokens/{}/confirm", id.as_str().expect("an id"));
        office.post(by, &path, &json!({})).await
    };
    // One admin makes a puppet, and then an approver.
    let puppet = make(&office.root, "mallory", &["admin"]).await;
    let approver = make(&office.root, "rooty", &["approve:customers"]).await;
    let (secret, id) = (puppet["secret"].as_str().expect("a token"), &approver["token"]["id"]);
    assert_eq!((&puppet["token"]["usable"], &approver["token"]["usable"]), (&json!(false), &json!(false)));
    confirm(secret, id).await.refused(401, "not_authenticated");
    confirm(&office.root, id).await.refused(403, "not_allowed");
    confirm(&office.root, &puppet["token"]["id"]).await.refused(403, "not_allowed");
    office
        .get(approver["secret"].as_str().expect("a token"), "whoami")
        .await
        .refused(401, "not_authenticated");
    // Its own owner, who is an admin, is not the second either.
    let own = make(&office.root, "Grace", &["approve:customers"]).await;
    assert_eq!(own["token"]["operator"], "grace");
    confirm(&office.grace, &own["token"]["id"]).await.refused(403, "not_allowed");
    confirm(&office.grace, id).await.ok();
    office.get(approver["secret"].as_str().expect("a token"), "whoami").await.ok();
    confirm(&office.grace, id).await.refused(409, "conflict");
    confirm(&office.grace, &json!("0123456789abcdef")).await.refused(404, "not_found");
    assert!(office.serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_makes_confirms_lists_and_revokes_tokens_and_halts() {
    let office = Office::open("").await;
    let first =
        office.stage.run(&["operator", "add", "olga", "--scope", "admin,halt", "--ledger", "--by", "olga"]);
    let first = first.await;
    let olga = String::from_utf8_lossy(&first.stdout).trim().to_owned();
    assert!(first.status.success() && olga.starts_with("bw_") && !olga.contains('\n'), "{first:?}");
    let not_so = ["operator", "add", "olga", "--scope", "approve:customers", "--ledger", "--by", "olga"];
    assert_eq!(office.stage.run(&not_so).await.status.code(), Some(4));

    let (code, out, _) = office.run(&olga, &["whoami"]).await;
    assert!(code == 0 && out.starts_with("olga\nmay     halt admin\n"), "{out}");
    let (code, token, told) =
        office.run(&olga, &["operator", "add", "ada", "--scope", "approve:customers", "--days", "7"]).await;
    assert!(code == 0 && told.contains("opens nothing yet"), "{told}");
    let id = token.split('_').nth(1).expect("it has an id");
    let (code, _, told) = office.run(&olga, &["operator", "confirm", id]).await;
    assert!(code == 4 && told.contains("you made this token"), "{told}");
    let (code, _, told) = office.run(&olga, &["operator", "add", "ada", "--scope", "approve:custmers"]).await;
    assert!(code == 5 && told.contains("no such audience; close: customers"), "{told}");
    assert_eq!(office.run(token.trim(), &["whoami"]).await.0, 4);
    assert_eq!(office.run(&office.grace, &["operator", "confirm", id]).await.0, 0);
    assert_eq!(office.run(token.trim(), &["whoami"]).await.0, 0);
    let (_, listed, _) = office.run(&olga, &["operator", "list"]).await;
    let mut lines = listed.lines().skip_while(|line| *line != "ada").skip(1);
    let (row, may) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    assert!(row.contains(id) && row.contains("good") && may == "    may approve:customers", "{listed}");
    assert_eq!(office.run(&olga, &["operator", "revoke", "--all-of", "ADA"]).await.0, 0);
    assert_eq!(office.run(token.trim(), &["whoami"]).await.0, 4);
    assert_eq!(office.run(&olga, &["operator", "revoke", "0123456789abcdef"]).await.0, 5);

    assert_eq!(office.run(&olga, &["halt", "--all", "--reason", "a storm"]).await.0, 0);
    let (code, _, told) = office.run(&olga, &["unhalt", "--all"]).await;
    assert!(code == 7 && told.contains("another person"), "{told}");
    assert_eq!(office.run(&olga, &["unhalt", "--all"]).await.0, 7, "one person is one");
    assert_eq!(office.run(&office.grace, &["unhalt", "--all"]).await.0, 0);
    assert_eq!(office.run(&office.grace, &["unhalt", "--all"]).await.0, 5);
    let without = office.stage.run(&["halt", "--all", "--reason", "a storm"]).await;
    let told = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(without.status.code() == Some(1) && told.contains("--ledger"), "{told}");
    assert!(office.serving.stop().await.success());
}
