//! Finds web addresses in a text, and says what kind of host each has.
//!
//! Strict on purpose: programs disagree about addresses with a user, a backslash or a blank in them, and a phone might open
//! another host than the one that was read here. What is not plain is no allowed host.

use crate::guard::Span;

/// What is wrong with an address, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::guard) enum Doubt {
    /// Its host is written in a way that programs read differently.
    NotPlain,
    /// The machine itself, or a private network; also any address in digits, which nobody should be shown.
    Local,
    /// A name that is given to systems that are not for customers.
    Staging,
    /// Simply not one that the app has declared.
    Elsewhere,
}

impl Doubt {
    /// As told to a person.
    pub(in crate::guard) const fn as_str(self) -> &'static str {
        match self {
            Self::NotPlain => "an address whose host programs read in different ways",
            Self::Local => "an address of this machine, of a private network, or in digits",
            Self::Staging => "a host that looks like a test system",
            Self::Elsewhere => "a host that is not among the app's link_hosts",
        }
    }
}

/// Words of a host's name that mean a system for trying things out.
const STAGING: &[&str] = &[
    "staging",
    "stage",
    "stg",
    "test",
    "tests",
    "testing",
    "tst",
    "qa",
    "uat",
    "dev",
    "develop",
    "development",
    "sandbox",
    "preprod",
    "preproduction",
    "nonprod",
    "sit",
    "mock",
    "demo",
];

/// Ends of names that exist inside a network only, or nowhere (RFC 6761, RFC 6762, RFC 8375, RFC 9476).
const INSIDE: &[&str] =
    &["localhost", "local", "internal", "intranet", "lan", "home", "corp", "test", "invalid"];

/// The span of every host in `text` that an `http://`, `https://` or `//` address has.
pub(in crate::guard) fn hosts(text: &str) -> impl Iterator<Item = Span> {
    text.match_indices("//").filter_map(|(slashes, _)| {
        let before = text[..slashes].strip_suffix(':').map(scheme);
        let is_web = match before {
            Some(scheme) => ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web)),
            // Without a scheme it is an address only where one is expected: at the beginning.
            None => slashes == 0,
        };
        let start = slashes + "//".len();
        let ends = |c: char| matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>') || c.is_whitespace();
        let length = text[start..].find(ends).unwrap_or(text.len() - start);
        is_web.then_some(start..start + length)
    })
}

/// The letters right before a colon.
fn scheme(before: &str) -> &str {
    let letters = before.bytes().rev().take_while(u8::is_ascii_alphanumeric).count();
    &before[before.len() - letters..]
}

/// What speaks against an address with this authority (host and port, and whatever else stands there); `None`: nothing.
/// With `production`, a host that looks like a test system is doubtful even if it is declared.
pub(in crate::guard) fn doubt(authority: &str, declared: &[String], production: bool) -> Option<Doubt> {
    // A text may end its sentence behind a bare host.
    let authority = authority.trim_end_matches(['.', ',', '!', ')', ';', ':']);
    if authority.starts_with('[') {
        return Some(Doubt::Local);
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if host.is_empty() || !host.bytes().all(plain) || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Doubt::NotPlain);
    }
    let host = host.to_ascii_lowercase();
    let last = host.rsplit('.').next().unwrap_or(&host);
    let in_digits = last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit());
    if in_digits || !host.contains('.') || INSIDE.contains(&last) {
        return Some(Doubt::Local);
    }
    let declared = declared.contains(&host);
    if (production || !declared) && looks_like_staging(&host) {
        return Some(Doubt::Staging);
    }
    (!declared).then_some(Doubt::Elsewhere)
}

/// The last label is a registry's: `example.dev` is a real site.
fn looks_like_staging(host: &str) -> bool {
    let Some((names, _)) = host.rsplit_once('.') else { return false };
    let words = names.split(['.', '-', '_']);
    words.map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit())).any(|word| STAGING.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        hosts(text).map(|span| &text[span]).collect()
    }

    #[test]
    fn each_doubt_is_told_in_words_of_its_own() {
        let all = [Doubt::NotPlain, Doubt::Local, Doubt::Staging, Doubt::Elsewhere].map(Doubt::as_str);
        assert_eq!(std::collections::BTreeSet::from(all).len(), all.len());
    }

    #[test]
    fn addresses_are_found_wherever_they_stand() {
        assert_eq!(
            found("Zobacz https://bank.example.pl/x i http://a.b:80?q"),
            ["bank.example.pl", "a.b:80"]
        );
        assert_eq!(found("HTTPS://A.example"), ["A.example"]);
        assert_eq!(found("//cdn.example.com/a.png"), ["cdn.example.com"]);
        assert_eq!(found("(https://a.example)"), ["a.example)"]);
        for none in ["bank://transfers/7", "and//or", "50 zł", "", "https:/a"] {
            assert_eq!(found(none), Vec::<&str>::new(), "{none}");
        }
    }

    #[test]
    fn a_declared_host_is_exactly_that_host() {
        let declared = ["bank.example.pl".to_owned()];
        let ask = |authority: &str| doubt(authority, &declared, true);
        for fine in ["bank.example.pl", "BANK.example.pl", "bank.example.pl:443", "bank.example.pl."] {
            assert_eq!(ask(fine), None, "{fine}");
        }
        for (authority, expected) in [
            ("bank.example.pl.evil.example.com", Doubt::Elsewhere),
            ("www.bank.example.pl", Doubt::Elsewhere),
            ("staging.bank.example.pl", Doubt::Staging),
            ("bank-uat2.example.pl", Doubt::Staging),
            ("bank.example.pl@evil.example.com", Doubt::NotPlain),
            ("bank.example.pl\\evil.example.com", Doubt::NotPlain),
            ("bаnk.example.pl", Doubt::NotPlain),
            ("", Doubt::NotPlain),
            ("localhost:8080", Doubt::Local),
            ("build.internal", Doubt::Local),
            ("127.0.0.1", Doubt::Local),
            ("10.1.2.3:8080", Doubt::Local),
            ("0x7f.1", Doubt::Local),
            ("2130706433", Doubt::Local),
            ("[::1]", Doubt::Local),
        ] {
            assert_eq!(ask(authority), Some(expected), "{authority}");
        }
    }

    #[test]
    fn a_test_system_may_be_declared_for_tests_alone() {
        let declared = ["uat.example.pl".to_owned()];
        assert_eq!(doubt("uat.example.pl", &declared, false), None);
        assert_eq!(doubt("uat.example.pl", &declared, true), Some(Doubt::Staging));
        assert_eq!(
            doubt("shop.example.dev", &["shop.example.dev".to_owned()], true),
            None,
            "a registry's name"
        );
    }
}
