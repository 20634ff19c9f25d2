//! What looks hostile and is nothing but text: it rings, character for character, and is on record.

use bellwether::model::OutcomeCode;
use serde_json::{Value, json};

use crate::harness::{
    broker::{PATIENCE, eventually},
    service::{Stage, TestPhone},
};

/// Texts that a program between the producer and the phone could mistake for something else.
const TEXTS: [&str; 12] = [
    "'; drop table device; --",
    "\" or 1=1 /* $1 :name ? */",
    "\u{1b}[2J\u{1b}]0;title\u{7}",
    "line\r\napns-priority: 10\r\n\r\nbody",
    "a\u{0}b",
    "\u{202e}right to left\u{202c}",
    "\u{feff}\u{200b}\u{200d}\u{fffd}",
    "👩‍👩‍👧‍👦🐑🔔",
    "</script><img src=x onerror=alert(1)>",
    "../../etc/passwd",
    "50% zniżki, 100 % sure, {} () [] <>",
    "\\u0000 \\n \\\" \\\\",
];

/// The text in every field that takes any text.
fn job(n: usize, text: &str) -> Value {
    json!({
        "v": 1, "id": format!("strange-{n}-'\"\\$1"), "app": crate::harness::service::APP, "intent": "production",
        "to": {"users": ["anna", "'; drop table device; --", "ania\u{202e}"]},
        "notification": {
            "title": text, "body": format!("{text}."), "category": text, "link": text,
            "localized": {"en": {"title": text, "body": format!("{text}.")}},
            "data": {"k": text, "'; drop table device; --": text},
            "collapse_id": format!("'\"\\;--{n}"),
            "apns": {"custom": {"k": text}}, "fcm": {"fcm_options": {"analytics_label": text}}
        },
        "labels": {text: text}
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_texts_ring_as_they_were_written() {
    let stage = Stage::set().await;
    let phones = [TestPhone::ios("anna"), TestPhone::android("anna")];
    stage.register(&phones).await;
    let serving = stage.serve().await;
    let cards = stage.client("cards").await;
    for (n, text) in TEXTS.iter().enumerate() {
        cards.enqueue(&job(n, text).to_string()).await;
    }
    let sends = u64::try_from(2 * TEXTS.len() + 1).expect("a few");
    stage.simulator.wait_for_requests(sends, PATIENCE).await.expect("every text rings both phones");
    for phone in &phones {
        let screen = stage.simulator.phone(&phone.token).expect("a registered phone").screen;
        let shown: Vec<_> = screen.iter().map(|shown| (&*shown.title, shown.body.to_string())).collect();
        for text in TEXTS {
            assert!(shown.contains(&(text, format!("{text}."))), "{text:?} is not among {shown:?}");
        }
    }
    let ledger = stage.ledger().await;
    for n in 0..TEXTS.len() {
        let key = stage.key("cards", job(n, "")["id"].as_str().expect("an id"));
        let record = eventually("on record", async || ledger.job(&key).await.expect("an answer")).await;
        assert!(record.targets.iter().all(|target| target.outcome == OutcomeCode::Accepted), "{n}");
        assert_eq!((record.targets.len(), record.unreachable), (2, 2), "{n}");
    }
    assert_eq!(serving.get("/readyz").await.0, 200);
    assert!(serving.stop().await.success());
}
