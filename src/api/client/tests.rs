use std::collections::HashMap;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

fn client(variables: &[(&str, &str)]) -> Result<Client, ClientError> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    Client::from_variables(|name| variables.get(name).map(|value| (*value).to_owned()), Clock::system())
}

#[test]
fn what_is_missing_is_named_and_the_token_is_never_printed() {
    let told = |variables: &[(&str, &str)]| client(variables).expect_err("must be refused").to_string();
    assert!(told(&[]).starts_with("BELLWETHER_URL is not set"));
    assert!(told(&[("BELLWETHER_URL", "http://x")]).starts_with("BELLWETHER_TOKEN is not set"));
    let token = ("BELLWETHER_TOKEN", "bw_x");
    for wrong in ["bellwether:9470", "ftp://x", "https://", "https://ada:bw_x@x"] {
        assert!(
            told(&[("BELLWETHER_URL", wrong), token]).starts_with("BELLWETHER_URL is not usable"),
            "{wrong}"
        );
    }
    let url = ("BELLWETHER_URL", "http://x");
    assert!(told(&[url, ("BELLWETHER_TOKEN", "bw_x\n")]).contains("does not hold a token"));
    assert!(told(&[url, token, ("BELLWETHER_CA_FILE", "/none")]).starts_with("BELLWETHER_CA_FILE: /none"));
    let made = client(&[url, ("BELLWETHER_TOKEN", "bw_hunter2")]).expect("a client");
    assert!(!format!("{made:?}").contains("hunter2"));
}

#[test]
fn an_address_of_an_endpoint_is_the_address_of_the_api() {
    for (said, base) in [
        ("http://x", "http://x/"),
        ("http://x/api/v1", "http://x/"),
        ("http://x/api/v1/", "http://x/"),
        ("https://x/push/api/v1", "https://x/push/"),
        ("https://x/push/", "https://x/push/"),
        ("https://x/api/v10", "https://x/api/v10/"),
    ] {
        let made = client(&[("BELLWETHER_URL", said), ("BELLWETHER_TOKEN", "bw_x")]).expect("a client");
        assert_eq!(made.base.as_str(), base, "{said}");
    }
}

/// Reads one request's head, and says what its idempotency key was.
async fn heard(stream: &mut tokio::net::TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a request"));
    }
    let head = String::from_utf8(head).expect("ASCII");
    head.lines().find_map(|line| line.strip_prefix("idempotency-key: ").map(str::to_owned))
}

#[tokio::test]
async fn a_broken_connection_is_tried_again_under_the_same_key() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.expect("a connection");
        let broken = heard(&mut first).await;
        drop(first);
        let (mut second, _) = listener.accept().await.expect("a connection");
        let repeated = heard(&mut second).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        second.write_all(answer).await.expect("an answer");
        (broken, repeated)
    });
    let client = client(&[("BELLWETHER_URL", &url), ("BELLWETHER_TOKEN", "bw_x")]).expect("a client");
    let _answer: Value = client.post("halts", &Value::Null).await.expect("the second try is answered");
    let (broken, repeated) = server.await.expect("the server ran");
    assert!(broken.is_some() && broken == repeated, "{broken:?} {repeated:?}");
}

#[tokio::test]
async fn a_refused_connection_and_a_stranger_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let client = client(&[("BELLWETHER_URL", &url), ("BELLWETHER_TOKEN", "bw_x")]).expect("a client");
    let stranger = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        heard(&mut stream).await;
        stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.expect("an answer");
    };
    let (error, ()) = tokio::join!(client.get::<Value>("whoami"), stranger);
    assert!(matches!(error, Err(ClientError::NotOurs { .. })), "{error:?}");
    drop(listener);
    let error = client.get::<Value>("whoami").await.expect_err("nobody listens");
    assert!(
        matches!(error, ClientError::Unreachable { .. }) && error.to_string().contains("refused"),
        "{error}"
    );
}
