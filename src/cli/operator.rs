//! `bellwether operator` and `whoami`: who may do what.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::bail;
use clap::builder::NonEmptyStringValueParser;
use secrecy::ExposeSecret as _;

use super::{Exit, Output, api, exit::With, ledger, output};
use crate::{
    api::wire::{NewToken, Nothing, Operator as Listed, OperatorList, Scope, TokenIssued, TokenView, Whoami},
    clock::Clock,
    ledger::{Issuer, MintedToken, NewOperatorToken},
    model::OperatorName,
};

/// What can be done with operators.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Operator {
    /// Make a token for a person; it is printed this once
    Add(Add),
    /// Everybody, with their tokens
    List,
    /// Be the second admin of a token that approves, or makes such tokens
    Confirm {
        /// The token's id, as `operator list` shows it
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
    /// Take a token away, or every token of a person
    Revoke {
        /// The token's id
        #[arg(value_parser = NonEmptyStringValueParser::new(), required_unless_present = "all_of")]
        id: Option<String>,
        /// Every token of this person
        #[arg(long, value_name = "NAME", conflicts_with = "id")]
        all_of: Option<OperatorName>,
    },
}

/// A token to be made.
#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// Whose; names that read alike are one person
    name: OperatorName,
    /// What it allows: enqueue:test, enqueue:production, approve:AUDIENCE, promote, halt, policy, audit, admin
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', required = true)]
    scopes: Vec<Scope>,
    /// For how many days
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=366))]
    days: u16,
    /// Write into the ledger directly: the first admin, or the last resort. Gives admin, halt and audit only
    #[arg(long)]
    ledger: bool,
    /// Who you are, with --ledger; it stands in the audit log
    #[arg(long, value_name = "NAME", env = "USER")]
    by: Option<OperatorName>,
}

/// Runs the verb.
pub(super) async fn run(config: &Path, format: Output, verb: Operator) -> anyhow::Result<Exit> {
    match verb {
        Operator::Add(add) => issued(format, &self::add(config, add).await?),
        Operator::List => list(format, &api::client()?.get::<OperatorList>("operators").await?),
        Operator::Confirm { id } => {
            let path = format!("operators/tokens/{}/confirm", in_path(&id));
            let token: TokenView = api::client()?.post(&path, &Nothing {}).await?;
            output::remark(&format!(
                "confirmed: token {} of {} opens now",
                token.id,
                output::visible(&token.operator)
            ));
            Ok(Exit::Ok)
        }
        Operator::Revoke { id: Some(id), .. } => {
            let token: TokenView =
                api::client()?.delete(&format!("operators/tokens/{}", in_path(&id))).await?;
            output::remark(&format!("revoked: token {} of {}", token.id, output::visible(&token.operator)));
            Ok(Exit::Ok)
        }
        Operator::Revoke { all_of, .. } => {
            let Some(name) = all_of else { bail!("name a token by its id, or a person with --all-of") };
            let gone: Listed =
                api::client()?.delete(&format!("operators/{}", in_path(name.as_str()))).await?;
            let (name, count) = (output::visible(&gone.name), gone.tokens.len());
            output::remark(&format!("revoked: every token of {name} ({count})"));
            Ok(Exit::Ok)
        }
    }
}

/// `bellwether whoami`.
pub(super) async fn whoami(format: Output) -> anyhow::Result<Exit> {
    let told: Whoami = api::client()?.get("whoami").await?;
    if format == Output::Table {
        output::line(&output::visible(&told.operator))?;
        output::line(&format!("may     {}", words(&told.scopes)))?;
        output::line(&format!("until   {}", told.expires_at))?;
    } else {
        output::print_json(&told)?;
    }
    Ok(Exit::Ok)
}

async fn add(config: &Path, add: Add) -> anyhow::Result<TokenIssued> {
    if !add.ledger {
        let body = NewToken { operator: add.name.to_string(), scopes: add.scopes, days: add.days };
        return Ok(api::client()?.post("operators", &body).await?);
    }
    let Some(by) = &add.by else { bail!("say who you are with --by NAME; it stands in the audit log") };
    let scopes: BTreeSet<Scope> = add.scopes.into_iter().collect();
    let lasts = Duration::from_hours(24 * u64::from(add.days));
    let new = NewOperatorToken { operator: &add.name, scopes: &scopes, lasts };
    let minted = MintedToken::mint(&Clock::system());
    let ledger = ledger::open(config).await?;
    let issued = ledger.issue_token(&new, &minted, Issuer::BreakGlass(by)).await?;
    let token = issued.map_err(|refused| With(Exit::NotAllowed, refused.to_string()))?;
    Ok(TokenIssued { token: token.into(), secret: minted.into_secret().expose_secret().to_owned() })
}

/// The token alone on standard output, so that a script can take it; what is said of it beside.
fn issued(format: Output, issued: &TokenIssued) -> anyhow::Result<Exit> {
    let token = &issued.token;
    if format == Output::Table {
        output::line(&issued.secret)?;
    } else {
        output::print_json(issued)?;
    }
    let (id, owner) = (&token.id, output::visible(&token.operator));
    output::remark(&format!(
        "token {id} of {owner}, until {}: {}. It is shown this once; give it to {owner} as BELLWETHER_TOKEN.",
        token.expires_at,
        words(&token.scopes)
    ));
    if !token.usable {
        output::remark(&format!(
            "It opens nothing yet: another admin, who is not {owner}, must run `bellwether operator confirm {id}`."
        ));
    }
    Ok(Exit::Ok)
}

fn list(format: Output, list: &OperatorList) -> anyhow::Result<Exit> {
    if format != Output::Table {
        output::print_json(list)?;
        return Ok(Exit::Ok);
    }
    output::line(&shown(list))?;
    Ok(Exit::Ok)
}

/// Each operator, and below them their tokens, two lines each: what it may is often long.
fn shown(list: &OperatorList) -> String {
    let tokens = list.operators.iter().flat_map(|operator| &operator.tokens);
    let rows: Vec<_> = tokens.map(row).collect();
    let table = output::table(&["  token", "state", "used", "until"], &rows);
    let mut rows = table.lines().map(str::to_owned);
    let mut lines = vec!["operator".to_owned()];
    lines.extend(rows.next());
    for operator in &list.operators {
        lines.push(output::wrapped(&output::visible(&operator.name), 0));
        for (token, row) in operator.tokens.iter().zip(rows.by_ref()) {
            lines.push(row);
            lines.push(output::indented(&format!("may {}", words(&token.scopes)), 4));
        }
    }
    lines.join("\n")
}

fn row(token: &TokenView) -> Vec<String> {
    let state = match token {
        TokenView { revoked_at: Some(_), .. } => "revoked",
        TokenView { usable: false, .. } => "unconfirmed",
        _ => "good",
    };
    let day = |at: jiff::Timestamp| at.strftime("%Y-%m-%d").to_string();
    vec![
        format!("  {}", token.id),
        state.to_owned(),
        token.used_at.map_or_else(|| "never".to_owned(), day),
        day(token.expires_at),
    ]
}

fn words(scopes: &[Scope]) -> String {
    if scopes.is_empty() {
        return "look".to_owned();
    }
    scopes.iter().map(Scope::to_string).collect::<Vec<_>>().join(" ")
}

/// A name as a part of a path: whatever it has in it stays in that part (RFC 3986, section 2.3).
pub(super) fn in_path(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_operators_fits_a_terminal_whatever_they_may() {
        use unicode_width::UnicodeWidthStr as _;
        let at = |text: &str| text.parse().expect("an instant");
        let token = |id: &str, operator: &str, scopes: &[&str]| TokenView {
            id: id.to_owned(),
            operator: operator.to_owned(),
            scopes: scopes.iter().map(|word| word.parse().expect("a scope")).collect(),
            made_by: "root".to_owned(),
            made_at: at("2026-11-21T12:00:00Z"),
            confirmed_by: None,
            usable: true,
            expires_at: at("2027-02-19T12:00:00Z"),
            revoked_at: None,
            used_at: None,
        };
        let far =
            ["approve:customers-of-the-northern-half", "approve:customers-of-the-southern-half", "audit"];
        let operator = |name: &str, tokens| Listed { name: name.to_owned(), tokens };
        let ada = vec![token("0123456789abcdef", "ada", &far), token("fedcba9876543210", "ada", &[])];
        let long = "a-name-as-long-as-names-may-be-".repeat(2);
        let bob = vec![TokenView { usable: false, ..token("00000000000000ff", &long, &["promote", "halt"]) }];
        let told = shown(&OperatorList { operators: vec![operator("ada", ada), operator(&long, bob)] });
        assert!(told.lines().all(|line| line.width() <= output::COLUMNS), "{told}");
        insta::assert_snapshot!(told, @r"
        operator
          token             state        used   until
        ada
          0123456789abcdef  good         never  2027-02-19
            may approve:customers-of-the-northern-half
            approve:customers-of-the-southern-half audit
          fedcba9876543210  good         never  2027-02-19
            may look
        a-name-as-long-as-names-may-be-a-name-as-long-as-names-may-be-
          00000000000000ff  unconfirmed  never  2027-02-19
            may promote halt
        ");
    }

    #[test]
    fn a_name_stays_in_its_part_of_the_path() {
        assert_eq!(in_path("ada"), "ada");
        assert_eq!(in_path("../halts?x=ż"), "%2E%2E%2Fhalts%3Fx%3D%C5%BC");
    }
}
