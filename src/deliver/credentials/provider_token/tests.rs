use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::*;

fn key_file(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(content.as_bytes()).expect("it can be written to");
    file
}

fn pem() -> String {
    rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key").serialize_pem()
}

fn token() -> (ProviderToken, Clock) {
    let clock = Clock::manual("2026-11-23T12:00:00Z".parse().expect("a time"), 1);
    let file = key_file(&pem());
    let token = ProviderToken::load(file.path(), "KEY1234567", "TEAM123456", clock.clone());
    (token.expect("a good key"), clock)
}

fn minutes(n: u64) -> Duration {
    Duration::from_mins(n)
}

#[test]
fn it_is_an_es256_jwt_with_a_raw_signature_in_unpadded_base64url() {
    let (token, _) = token();
    let authorization = token.authorization().expect("it signs");
    assert!(authorization.is_sensitive());
    let jwt = authorization.to_str().expect("ASCII").strip_prefix("bearer ").expect("a scheme");
    let parts: Vec<_> =
        jwt.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).expect("unpadded base64url")).collect();
    let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).expect("JSON");
    assert_eq!(json(&parts[0]), serde_json::json!({"alg": "ES256", "kid": "KEY1234567"}));
    assert_eq!(json(&parts[1]), serde_json::json!({"iss": "TEAM123456", "iat": 1_795_435_200}));
    assert_eq!(parts[2].len(), 64, "R and S, 32 bytes each, no DER");
}

#[test]
fn it_is_kept_for_forty_minutes_and_never_renewed_before_twenty() {
    let (token, clock) = token();
    let first = token.authorization().expect("it signs");
    clock.advance(minutes(20));
    assert_eq!(token.expired(&first), Ok(Renewal::WasFresh), "20 minutes is too young");
    clock.advance(Duration::from_secs(39 * 60 + 59 - 20 * 60));
    assert_eq!(token.authorization().expect("it signs"), first);
    clock.advance(Duration::from_secs(1));
    let second = token.authorization().expect("it signs");
    assert_ne!(second, first);
    assert_eq!(token.expired(&first), Ok(Renewal::Renewed), "the old one is not the current one");
    assert_eq!(token.expired(&second), Ok(Renewal::WasFresh));
    clock.advance(minutes(21));
    assert_eq!(token.expired(&second), Ok(Renewal::Renewed));
    let third = token.authorization().expect("it signs");
    assert_eq!(token.expired(&second), Ok(Renewal::Renewed), "renewed once, whoever else comes");
    assert_eq!(token.authorization().expect("it signs"), third);
}

#[test]
fn after_too_many_updates_the_old_one_is_kept_for_twenty_minutes() {
    let (token, clock) = token();
    let first = token.authorization().expect("it signs");
    clock.advance(minutes(35));
    token.keep();
    clock.advance(minutes(19));
    assert_eq!(token.authorization().expect("it signs"), first, "54 minutes old, still valid");
    clock.advance(minutes(1));
    assert_ne!(token.authorization().expect("it signs"), first);
}

#[test]
fn a_key_that_cannot_be_used_names_its_file_and_not_its_content() {
    let load = |path: &Path| {
        ProviderToken::load(path, "K", "T", Clock::system()).expect_err("must be refused").to_string()
    };
    let missing = load(Path::new("/nonexistent/key.p8"));
    assert!(missing.contains("/nonexistent/key.p8") && missing.contains("check the path"), "{missing}");
    let rsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key").serialize_pem();
    for content in
        ["", "SECRETSECRET", "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n", &rsa]
    {
        let file = key_file(content);
        let error = load(file.path());
        assert!(error.contains(&file.path().display().to_string()) && error.contains(".p8"), "{error}");
        assert!(!error.contains("SECRET"), "{error}");
    }
}

#[test]
fn it_is_never_printed() {
    let (token, _) = token();
    let authorization = token.authorization().expect("it signs");
    let secret = authorization.to_str().expect("ASCII").strip_prefix("bearer ").expect("a scheme");
    assert!(!format!("{token:?} {authorization:?}").contains(secret));
}
