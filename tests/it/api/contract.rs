//! How it listens, and what its document says.

use std::collections::BTreeSet;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::Value;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn it_speaks_tls_and_refuses_to_speak_in_the_clear_to_others() {
    let stage = Stage::set().await;
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (stage.folder().join("api.pem"), stage.folder().join("api.key"));
    std::fs::write(&certificate, cert.pem()).expect("a file");
    std::fs::write(&key, signing_key.serialize_pem()).expect("a file");
    stage.configure("api.tls.certificate_file = \"api.pem\"\napi.tls.key_file = \"api.key\"\n");
    let (serving, ledger) = (stage.serve().await, stage.ledger().await);
    let root = break_glass(&ledger, "root").await;
    let port = serving.api().expect("it has an API").port();
    let whoami = async |ca: Option<&std::path::Path>, url: String| {
        let mut command = stage.command(&["whoami"]);
        command.env("BELLWETHER_URL", url).env("BELLWETHER_TOKEN", &root);
        if let Some(ca) = ca {
            command.env("BELLWETHER_CA_FILE", ca);
        }
        let output = within("a command", command.output()).await.expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(whoami(Some(&certificate), format!("https://localhost:{port}")).await.0, Some(0));
    let (code, told) = whoami(None, format!("https://localhost:{port}")).await;
    assert!(code == Some(1) && told.contains("is not trusted"), "{told}");
    let (code, told) = whoami(None, format!("http://localhost:{port}")).await;
    assert!(code == Some(1) && told.contains("begin with https://"), "plain text gets nothing: {told}");
    assert!(serving.stop().await.success());

    let everywhere = std::fs::read_to_string(stage.configuration()).expect("the configuration");
    let clear = everywhere
        .replace("api.listen = \"127.0.0.1:0\"", "api.listen = \"0.0.0.0:0\"")
        .replace("api.tls.certificate_file = \"api.pem\"\napi.tls.key_file = \"api.key\"\n", "");
    std::fs::write(stage.configuration(), clear).expect("the configuration");
    let refused = stage.run(&["serve"]).await;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && told.contains("there is no TLS"), "{told}");
    let line = api_line(&stage).await;
    assert!(line.starts_with("FAILED") && line.contains("there is no TLS"), "{line}");
}

/// What `check` says of the operators' API.
async fn api_line(stage: &Stage) -> String {
    let checked = String::from_utf8(stage.run(&["check"]).await.stdout).expect("text");
    let line = checked.lines().find(|line| line.contains("operators' API"));
    line.unwrap_or_else(|| panic!("nothing is said of it: {checked}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_what_serve_would_refuse_of_the_certificate() {
    let stage = Stage::set().await;
    let line = api_line(&stage).await;
    assert!(line.starts_with("ok ") && line.ends_with("loopback, without TLS"), "{line}");
    stage.configure("api.tls.certificate_file = \"api.pem\"\napi.tls.key_file = \"api.key\"\n");
    let made = || generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (own, others) = (made(), made());
    let write = |name: &str, text: &str| std::fs::write(stage.folder().join(name), text).expect("a file");
    let absent = api_line(&stage).await;
    assert!(absent.starts_with("FAILED") && absent.contains("api.pem"), "{absent}");
    write("api.pem", "no certificate");
    write("api.key", &own.signing_key.serialize_pem());
    let empty = api_line(&stage).await;
    assert!(empty.starts_with("FAILED") && empty.contains("no CERTIFICATE block"), "{empty}");
    write("api.pem", &others.cert.pem());
    let stranger = api_line(&stage).await;
    assert!(stranger.starts_with("FAILED") && stranger.contains("api.key"), "{stranger}");
    write("api.pem", &own.cert.pem());
    let line = api_line(&stage).await;
    assert!(line.starts_with("ok ") && line.ends_with(", TLS"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_the_document_names_is_there_and_knows_no_other_method() {
    let office = Office::open("api.requests_per_second = 1000\n").await;
    let document = office.get("", "openapi.json").await.ok();
    let printed = office.stage.run(&["openapi"]).await;
    let printed: Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    assert_eq!(printed, document);
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() >= 15, "{}", paths.len());
    for (path, operations) in paths {
        let known: BTreeSet<&str> =
            operations.as_object().expect("operations").keys().map(String::as_str).collect();
        let path = path
            .replace("{campaign}", "6f1c9a34-6d0a-8d3e-9b5c-0d9d5b8a7e11")
            .replace("{id}", "0123456789abcdef")
            .replace("{name}", "nobody");
        let path = path.trim_start_matches("/api/v1/");
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let is_known = known.contains(method.as_str().to_lowercase().as_str());
            let answer = office.asked((method.clone(), path), &office.root, None, None).await;
            assert_eq!(answer.status != 405, is_known, "{method} {path}: {answer:?}");
        }
    }
    assert!(office.serving.stop().await.success());
}
