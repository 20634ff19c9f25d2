use http::Request;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{
    super::{NewPhone, Platform, Simulator},
    Answer, Client, SEND, http, start, start_with,
};
use crate::clock::Clock;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

fn account(simulator: &Simulator) -> Value {
    serde_json::from_str(&simulator.credentials().service_account_json).expect("JSON")
}

/// The claims that a correct sender signs.
fn claims(simulator: &Simulator) -> Value {
    let (account, now) = (account(simulator), Clock::system().now().as_second());
    json!({
        "iss": account["client_email"], "aud": account["token_uri"], "iat": now, "exp": now + 3600,
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
    })
}

async fn exchange(simulator: &Simulator, grant: &str, claims: &Value) -> (u16, Value) {
    let account = account(simulator);
    let key = account["private_key"].as_str().expect("a key").as_bytes();
    let key = EncodingKey::from_rsa_pem(key).expect("a key");
    let assertion = encode(&Header::new(Algorithm::RS256), claims, &key).expect("a JWT");
    let form = [("grant_type", grant), ("assertion", &assertion)];
    let uri = account["token_uri"].as_str().expect("a URI");
    let answer = http(simulator).post(uri).form(&form).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

/// A correct exchange.
pub(super) async fn ask(simulator: &Simulator) -> (u16, Value) {
    exchange(simulator, GRANT, &claims(simulator)).await
}

pub(super) async fn bearer(simulator: &Simulator) -> String {
    let (status, granted) = ask(simulator).await;
    assert_eq!((status, &granted["token_type"]), (200, &json!("Bearer")));
    format!("Bearer {}", granted["access_token"].as_str().expect("a token"))
}

pub(super) fn message(bearer: &str, path: &str, message: &Value) -> Request<Vec<u8>> {
    let request = Request::post(format!("https://localhost{path}"))
        .header("authorization", bearer)
        .header("content-type", "application/json");
    request.body(json!({ "message": message }).to_string().into()).expect("a request")
}

fn error_code(answer: &Answer) -> Option<String> {
    let body = answer.json();
    let details = body["error"]["details"].as_array().cloned().unwrap_or_default();
    let kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
    let error = details.iter().find(|detail| detail["@type"] == kind)?;
    error["errorCode"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn an_assertion_is_exchanged_for_a_bearer_token_that_sends() {
    let simulator = start().await;
    let bearer = bearer(&simulator).await;
    let client = Client::fcm(&simulator).await;
    let hello = json!({ "token": "android", "notification": { "title": "Bank", "body": "Hello" } });
    let answer = client.send(message(&bearer, SEND, &hello)).await.expect("an answer");
    let body = answer.json();
    let name = body["name"].as_str().expect("a name");
    assert_eq!(answer.status, 200);
    assert!(name.starts_with("projects/bank-prod/messages/0:"), "{name}");
    let phone = simulator.phone("android").expect("registered");
    assert_eq!((&*phone.screen[0].title, &*phone.screen[0].body), ("Bank", "Hello"));
    let record = simulator.record();
    let told: Vec<_> = record.iter().map(|seen| (seen.path.as_str(), &*seen.reason)).collect();
    assert_eq!(told, [("/token", "granted"), (SEND, "Accepted")]);
    assert_eq!(record[0].body, "", "an assertion is a credential");
}

#[tokio::test]
async fn assertions_are_checked() {
    let simulator = start().await;
    let now = Clock::system().now().as_second();
    let changed = |key: &str, value: Value| {
        let mut claims = claims(&simulator);
        claims[key] = value;
        claims
    };
    for (claims, error) in [
        (changed("iss", json!("somebody@example.com")), "invalid_grant"),
        (changed("aud", json!("https://oauth2.googleapis.com/token")), "invalid_grant"),
        (changed("exp", json!(now - 3600)), "invalid_grant"),
        (changed("exp", json!(now + 7200)), "invalid_grant"),
        (changed("iat", json!(now + 600)), "invalid_grant"),
        (changed("scope", json!("https://www.googleapis.com/auth/drive")), "invalid_scope"),
    ] {
        let (status, answer) = exchange(&simulator, GRANT, &claims).await;
        assert_eq!((status, &answer["error"]), (400, &json!(error)), "{claims}");
    }
    let (status, answer) = exchange(&simulator, "password", &claims(&simulator)).await;
    assert_eq!((status, &answer["error"]), (400, &json!("unsupported_grant_type")));

    let stranger = start().await;
    let mut stolen = account(&stranger);
    stolen["token_uri"] = json!(simulator.token_uri());
    let key = stolen["private_key"].as_str().expect("a key").as_bytes();
    let key = EncodingKey::from_rsa_pem(key).expect("a key");
    let header = Header::new(Algorithm::RS256);
    let assertion = encode(&header, &claims(&simulator), &key).expect("a JWT");
    let form = [("grant_type", GRANT), ("assertion", &assertion)];
    let answer = http(&simulator).post(simulator.token_uri()).form(&form).send().await;
    assert_eq!(answer.expect("an answer").status().as_u16(), 400);
}

#[tokio::test]
async fn without_a_valid_bearer_token_project_or_path_fcm_itself_says_nothing() {
    let simulator = start().await;
    let bearer = bearer(&simulator).await;
    let client = Client::fcm(&simulator).await;
    let hello = json!({ "token": "android" });
    for (bearer, path, status) in [
        ("Bearer ya29.x", SEND, 401),
        (bearer.as_str(), "/v1/projects/other/messages:send", 404),
        (bearer.as_str(), "/fcm/send", 404),
    ] {
        let answer = client.send(message(bearer, path, &hello)).await.expect("an answer");
        assert_eq!(answer.status, status, "{path}");
        assert!(!answer.body.contains("FcmError"), "{}", answer.body);
    }
    simulator.revoke_access_tokens();
    let answer = client.send(message(&bearer, SEND, &hello)).await.expect("an answer");
    assert_eq!((answer.status, error_code(&answer)), (401, None));
}

#[tokio::test]
async fn bearer_tokens_end() {
    let simulator = start_with(|config| config.access_token_lifetime = std::time::Duration::ZERO);
    let simulator = simulator.await;
    let bearer = bearer(&simulator).await;
    let client = Client::fcm(&simulator).await;
    let request = message(&bearer, SEND, &json!({ "token": "android" }));
    assert_eq!(client.send(request).await.expect("an answer").status, 401);
}

#[tokio::test]
async fn each_wrong_token_or_message_has_its_answer() {
    let simulator = start().await;
    let phone = |token: &str| NewPhone::new(Platform::Android, token);
    simulator.register([
        NewPhone { registered_with: Some("other".to_owned()), ..phone("elsewhere") },
        NewPhone { gone_since_ms: Some(1), ..phone("gone") },
    ]);
    let bearer = bearer(&simulator).await;
    let client = Client::fcm(&simulator).await;
    for (to, status, code) in [
        (json!({ "token": "gone" }), 404, Some("UNREGISTERED")),
        (json!({ "token": "abc:APA91bxyz" }), 404, Some("UNREGISTERED")),
        (json!({ "token": "nonsense" }), 400, Some("INVALID_ARGUMENT")),
        (json!({ "token": "ios" }), 400, Some("INVALID_ARGUMENT")),
        (json!({ "token": "elsewhere" }), 403, Some("SENDER_ID_MISMATCH")),
        (json!({ "token": "android", "data": { "from": "" } }), 400, Some("INVALID_ARGUMENT")),
        (json!({ "token": "android", "sound": "x" }), 400, None),
    ] {
        let answer = client.send(message(&bearer, SEND, &to)).await.expect("an answer");
        let told = (answer.status, error_code(&answer));
        assert_eq!(told, (status, code.map(str::to_owned)), "{to}: {}", answer.body);
    }
    assert_eq!(simulator.summary().phones_reached, 0);
}

#[tokio::test]
async fn a_tag_replaces_on_the_screen_and_a_collapse_key_does_not() {
    let simulator = start().await;
    let bearer = bearer(&simulator).await;
    let client = Client::fcm(&simulator).await;
    for (android, body) in [
        (json!({ "notification": { "tag": "a" } }), "1"),
        (json!({ "notification": { "tag": "a" } }), "2"),
        (json!({ "collapse_key": "c" }), "3"),
        (json!({ "collapse_key": "c" }), "4"),
    ] {
        let hello = json!({ "token": "android", "notification": { "body": body }, "android": android });
        let answer = client.send(message(&bearer, SEND, &hello)).await.expect("an answer");
        assert_eq!(answer.status, 200);
    }
    let phone = simulator.phone("android").expect("registered");
    let shown: Vec<_> = phone.screen.iter().map(|shown| (&*shown.body, shown.times)).collect();
    assert_eq!(shown, [("2", 2), ("3", 1), ("4", 1)]);
}
