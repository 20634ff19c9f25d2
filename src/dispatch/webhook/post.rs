//! One post to the webhook: signed, bounded, and followed nowhere.
//!
//! The headers and the signature are those of Standard Webhooks 1.0, so that receivers have libraries for them:
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use std::{fmt, path::PathBuf, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{StatusCode, header};
use reqwest::{Response, Url};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    clock::Clock,
    config::Notify,
    dispatch::outward::{self, ClientUnusable},
    ledger::Untold,
};

/// How long a receiver may take, all in all: it puts the notice down and works on it later.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// No more of an answer is read; nothing in it matters, and what is read whole lets the connection be used again.
const ANSWER_BYTES: usize = 4 * 1024;

/// Shorter secrets can be guessed from one post. Standard Webhooks asks for 24 bytes.
const SECRET_BYTES: usize = 24;

/// What a secret begins with that is written in Base64, as Standard Webhooks has them.
const SECRET_PREFIX: &str = "whsec_";

/// The webhook cannot be used as it is configured. Its address is a secret, and is not repeated.
#[derive(Debug, thiserror::Error)]
pub enum WebhookUnusable {
    /// It is no address.
    #[error("notify.webhook is no URL; expected something like https://chat.example.com/hooks/bellwether")]
    NoUrl,
    /// Others could read along.
    #[error(
        "notify.webhook must begin with https:// (http:// is accepted for this machine's own addresses only)"
    )]
    InTheClear,
    /// It holds a password.
    #[error("notify.webhook holds a user or a password, which is not sent; leave it out")]
    Password,
    /// Nobody could tell our posts from others'.
    #[error("notify.secret_file is not set: it names the file with the secret that posts are signed with")]
    NoSecret,
    /// The secret cannot be read.
    #[error("notify.secret_file: {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The secret is none.
    #[error(
        "notify.secret_file: {}: expected at least {SECRET_BYTES} bytes, as they are or as whsec_ and Base64; \
         make one with `openssl rand -hex 32`",
        path.display()
    )]
    WeakSecret {
        /// Which file.
        path: PathBuf,
    },
    /// The CA cannot be used.
    #[error("notify.ca_file: {}: expected PEM with at least one CERTIFICATE block", path.display())]
    CaFile {
        /// Which file.
        path: PathBuf,
    },
    /// There is no HTTP client.
    #[error("no HTTP client for notify.webhook can be made; is there a system trust store?")]
    Client,
}

/// Where notices are posted.
pub struct Webhook {
    client: reqwest::Client,
    url: Url,
    key: hmac::Key,
    clock: Clock,
}

/// What came of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Posted {
    /// The receiver has it.
    Told,
    /// The receiver does not want it, or sends us elsewhere.
    Refused(StatusCode),
    /// The receiver is unwell.
    Failed(StatusCode),
    /// Nobody answered.
    Unreachable(&'static str),
}

impl Posted {
    /// As metrics have it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
            Self::Unreachable(_) => "unreachable",
        }
    }
}

impl fmt::Display for Posted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told => f.write_str("told"),
            Self::Refused(status) if status.is_redirection() => {
                write!(f, "{}: redirects are not followed", status.as_u16())
            }
            Self::Refused(status) | Self::Failed(status) => write!(f, "{}", status.as_u16()),
            Self::Unreachable(why) => f.write_str(why),
        }
    }
}

impl Webhook {
    /// The webhook as it is configured; `None` if none is.
    pub fn open(config: &Notify, clock: Clock) -> Result<Option<Self>, WebhookUnusable> {
        let Some(url) = &config.webhook else { return Ok(None) };
        let url = checked(url)?;
        let secret_file = config.secret_file.clone().ok_or(WebhookUnusable::NoSecret)?;
        let key = key(secret_file)?;
        let client = outward::client(ANSWER_WITHIN, config.ca_file.as_deref()).map_err(|why| match why {
            ClientUnusable::CaFile(path) => WebhookUnusable::CaFile { path },
            ClientUnusable::NoTrust => WebhookUnusable::Client,
        })?;
        Ok(Some(Self { client, url, key, clock }))
    }

    /// Posts a notice once.
    pub(super) async fn post(&self, notice: &Untold) -> Posted {
        let id = notice.id.to_string();
        let timestamp = self.clock.now().as_second();
        let signature = signature(&self.key, &id, timestamp, &notice.body);
        let request = self
            .client
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(notice.body.clone());
        // An error's own text has the address in it.
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_timeout() => return Posted::Unreachable("no answer in time"),
            Err(error) if error.is_connect() => {
                return Posted::Unreachable("no connection, or no trust in it");
            }
            Err(_) => return Posted::Unreachable("the connection broke"),
        };
        let status = answer.status();
        read_off(answer).await;
        match status {
            status if status.is_success() => Posted::Told,
            status if status.is_server_error() => Posted::Failed(status),
            status => Posted::Refused(status),
        }
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

/// Reads the beginning of an answer's body. The status has been told: an end that does not come changes nothing.
async fn read_off(mut answer: Response) {
    let mut read = 0;
    while read <= ANSWER_BYTES {
        match answer.chunk().await {
            Ok(Some(bytes)) => read += bytes.len(),
            Ok(None) | Err(_) => return,
        }
    }
}

/// `v1,` and the Base64 of HMAC-SHA256 over `id.timestamp.body`.
fn signature(key: &hmac::Key, id: &str, timestamp: i64, body: &str) -> String {
    let signed = format!("{id}.{timestamp}.{body}");
    format!("v1,{}", BASE64_STANDARD.encode(hmac::sign(key, signed.as_bytes())))
}

fn checked(url: &SecretString) -> Result<Url, WebhookUnusable> {
    let url = Url::parse(url.expose_secret()).map_err(|_| WebhookUnusable::NoUrl)?;
    url.host_str().ok_or(WebhookUnusable::NoUrl)?;
    if outward::holds_a_password(&url) {
        return Err(WebhookUnusable::Password);
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if outward::is_ours(&url) => Ok(url),
        _ => Err(WebhookUnusable::InTheClear),
    }
}

fn key(path: PathBuf) -> Result<hmac::Key, WebhookUnusable> {
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => SecretString::from(text),
        Err(source) => return Err(WebhookUnusable::Unreadable { path, source }),
    };
    // Editors end a file with a line break; no secret is meant to.
    let text = text.expose_secret().trim();
    let secret = match text.strip_prefix(SECRET_PREFIX) {
        Some(encoded) => BASE64_STANDARD.decode(encoded).unwrap_or_default(),
        None => text.as_bytes().to_vec(),
    };
    if secret.len() < SECRET_BYTES {
        return Err(WebhookUnusable::WeakSecret { path });
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standards_own_example() {
        // The example of the specification's reference library.
        let secret = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("Base64");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let told = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(told, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn an_address_is_https_or_this_machines_own_and_holds_no_password() {
        let check = |url: &str| checked(&SecretString::from(url)).map(|url| url.to_string());
        for good in
            ["https://chat.example.com/x", "http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost/"]
        {
            assert_eq!(check(good).expect("accepted"), good);
        }
        for clear in [
            "http://chat.example.com/",
            "http://localhost.example.com/",
            "http://10.0.0.1/",
            "ftp://localhost/",
        ] {
            assert!(matches!(check(clear), Err(WebhookUnusable::InTheClear)), "{clear}");
        }
        assert!(matches!(check("https://a:b@chat.example.com/"), Err(WebhookUnusable::Password)));
        assert!(matches!(check("chat.example.com"), Err(WebhookUnusable::NoUrl)));
    }

    #[test]
    fn no_secret_of_a_webhook_is_repeated() {
        // The program does this when it starts.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let folder = tempfile::tempdir().expect("a folder");
        let secret_file = folder.path().join("secret");
        std::fs::write(&secret_file, "short-secret\n").expect("a file");
        let address = Some(SecretString::from("https://chat.example.com/hooks/T0KEN"));
        let config = Notify { webhook: address, secret_file: Some(secret_file.clone()), ca_file: None };
        let open = || Webhook::open(&config, Clock::system());
        let refused = open().expect_err("24 bytes are asked for");
        assert!(matches!(refused, WebhookUnusable::WeakSecret { .. }), "{refused}");
        assert!(!format!("{refused} {refused:?}").contains("short-secret"));
        std::fs::write(&secret_file, "a-secret-that-is-long-enough\n").expect("a file");
        let shown = format!("{config:?} {:?}", open().expect("it is right").expect("it is configured"));
        assert!(!shown.contains("T0KEN") && !shown.contains("long-enough"), "{shown}");
        let unsigned = Notify { secret_file: None, ..config };
        assert!(matches!(Webhook::open(&unsigned, Clock::system()), Err(WebhookUnusable::NoSecret)));
        assert!(Webhook::open(&Notify::default(), Clock::system()).expect("nothing is wrong").is_none());
    }
}
