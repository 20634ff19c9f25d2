//! Reads the sources and holds what a compiler cannot: which module may know which, what a pure module may name,
//! and the habits of the house. Text is enough for that; a rule that needs more than a line belongs in a lint.
//!
//! Each rule is a function from a file to findings, and has a test that plants a violation, so that it can be seen
//! failing. Comments and the contents of string literals are blanked out before a rule reads the code, except
//! where the rule is about words.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{fmt, fs};

// ---- the layers ---------------------------------------------------------------------------------------------

/// Who may use whom, from the core outwards: the module, and the modules of this crate that it may name.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("audience", &["model"]),
    ("guard", &["model", "audience"]),
    ("rollout", &["model", "audience", "guard"]),
    ("pace", &["model"]),
];

/// The rest of the tree: modules that carry out what the core decides.
const SHELL: &[&str] = &[
    "api",
    "app",
    "cli",
    "clock",
    "config",
    "deliver",
    "dispatch",
    "intake",
    "ledger",
    "metrics",
    "simulator",
    "telemetry",
];

/// What the core never names: it is synchronous and pure, so it has no runtime, no client and no clock.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio_util",
    "tokio_rustls",
    "futures_util",
    "sqlx",
    "lapin",
    "reqwest",
    "axum",
    "h2",
    "rustls",
    "hyper",
    "std::net",
    "std::time::SystemTime",
    "std::process",
];

/// What opens a connection to a provider, or speaks HTTP/2 as a client.
const PROVIDER_SOCKETS: &[&str] =
    &["h2::client", "TcpStream::connect", "TcpSocket", "tokio_rustls::TlsConnector", "TlsConnector::from"];

/// The files that may: one owner, and the simulators (which speak the other side). The broker's and the ledger's
/// crates open their own.
const SOCKET_OWNERS: &[&str] = &["src/deliver/h2pool.rs", "src/deliver/h2pool", "src/simulator"];

/// The modules that see every stage of the path.
const SEES_ALL: &[&str] = &["app", "dispatch"];

/// A file longer than this is more than one room.
const LONGEST_FILE: usize = 450;

/// Marks of work that is not done. Spelled in two halves so that this file may be read by its own rule.
const UNFINISHED: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimplemented", "!(")];

/// Words that say nothing, or too much. As whole words, without regard to case.
const EMPTY_WORDS: &[&str] = &[
    "blazing",
    "blazingly",
    "seamless",
    "seamlessly",
    "effortless",
    "effortlessly",
    "world-class",
    "cutting-edge",
    "state-of-the-art",
    "battle-tested",
    "enterprise-grade",
    "revolutionary",
    "leverage",
    "leverages",
    "utilize",
    "utilizes",
    "delve",
    "robustly",
    "whitelist",
    "blacklist",
];

/// Ends of type names that name no thing of the vocabulary.
const EMPTY_NAMES: &[&str] = &["Manager", "Handler", "Helper", "Util", "Utils", "Data", "Info", "Service"];

// ---- files --------------------------------------------------------------------------------------------------

/// One source file: where it is, and its text with and without comments and strings.
struct Source {
    /// From the top of the repository, with forward slashes.
    path: String,
    text: String,
    /// `text` with comments and the contents of literals blanked out; the lines are the same.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: code_only(text) }
    }

    /// The first part of the path below `src/`: `guard` for `src/guard/content.rs` and for `src/guard.rs`.
    fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        Some(inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs"))
    }

    fn is_in(&self, place: &str) -> bool {
        self.path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.']))
    }

    /// Numbered lines of code in which `found` holds.
    fn find(&self, found: impl Fn(&str) -> bool, what: &str) -> Vec<Finding> {
        let lines = self.code.lines().enumerate().filter(|(_, line)| found(line));
        lines.map(|(at, _)| self.finding(at + 1, what)).collect()
    }

    /// The number of the line in which the byte at `at` of `code` stands.
    fn line_at(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    fn finding(&self, line: usize, what: &str) -> Finding {
        Finding { path: self.path.clone(), line, what: what.to_owned() }
    }
}

/// A broken rule.
struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Every file below `places` (from the top of the repository) with the given ending, in order. A place that does
/// not exist has no files.
fn sources(places: &[&str], ending: &str) -> Vec<Source> {
    // At run time: a target directory that was copied to another checkout must not go on reading the first.
    let top = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let top = top.as_path();
    let mut open: Vec<PathBuf> = places.iter().map(|place| top.join(place)).collect();
    let mut found = BTreeSet::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory of the repository is readable");
            open.extend(entries.map(|entry| entry.expect("its entries are readable").path()));
        } else if path.is_file() && path.to_string_lossy().ends_with(ending) {
            found.insert(path);
        }
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source file is UTF-8");
        let inside = path.strip_prefix(top).expect("it was found below the top");
        Source::new(&inside.to_string_lossy().replace('\\', "/"), &text)
    };
    found.into_iter().map(read).collect()
}

/// The text with comments and the contents of string and character literals blanked out, line for line.
fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at).unwrap_or(at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment or literal that starts at `at` ends, if one starts there.
fn literal_end(chars: &[char], at: usize) -> Option<usize> {
    let starts = |what: &str| chars[at..].iter().copied().take(what.len()).eq(what.chars());
    let after_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if starts("//") {
        return Some(chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n));
    }
    if starts("/*") {
        return Some(block_comment_end(chars, at));
    }
    if starts("\"") {
        return Some(quoted_end(chars, at + 1, '"'));
    }
    // A raw string ends at the quote with as many hashes as it began with. (`br` and `cr` meet this at their r.)
    if chars[at] == 'r' && (!after_name || matches!(chars[at - 1], 'b' | 'c')) {
        let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
        if chars.get(at + 1 + hashes) == Some(&'"') {
            let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let body = at + 2 + hashes;
            let length = chars[body..].windows(closing.len()).position(|window| window == closing);
            return Some(length.map_or(chars.len(), |n| body + n + closing.len()));
        }
    }
    // A quote is a character if it closes after one or an escape, else it begins a lifetime.
    if starts("'") && (chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'')) {
        return Some(quoted_end(chars, at + 1, '\''));
    }
    None
}

/// Behind the closing quote of a literal whose contents begin at `at`.
fn quoted_end(chars: &[char], mut at: usize, quote: char) -> usize {
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// Behind a block comment that begins at `at`; they nest.
fn block_comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => depth += 1,
            ('*', Some('/')) => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            break;
        }
    }
    at.min(chars.len())
}

// ---- words and paths ----------------------------------------------------------------------------------------

fn in_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `path` (one name, or names joined by `::`) stands in the line as a whole path's beginning or part.
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + path.len()..].chars().next();
        !before.is_some_and(in_name) && !after.is_some_and(in_name)
    })
}

/// Whether the line names the outer crate or path `name`: as the beginning of a path, after `use`, in a list of
/// imports, or as an attribute. A field or a local variable of that name is not meant.
fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = &line[..at];
        let after = &line[at + name.len()..];
        if before.chars().next_back().is_some_and(in_name) || after.chars().next().is_some_and(in_name) {
            return false;
        }
        // `crate::tokio::…` or `self::h2` would be another thing; `::tokio` is the crate.
        let inner = before.strip_suffix("::").is_some_and(|path| path.ends_with(in_name));
        let imported = matches!(before.trim_start().trim_start_matches("pub "), "use " | "extern crate ");
        !inner && (after.starts_with("::") || imported)
    })
}

/// Every path that the code imports, each spelled out, with the line on which its `use` begins:
/// `use std::{fmt, time::{Duration, SystemTime}};` is three paths.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in source.code.match_indices("use ") {
        if source.code[..at].ends_with(in_name) {
            continue;
        }
        let tree = &source.code[at + "use ".len()..];
        let mut paths = Vec::new();
        spell_out("", &tree[..tree.find(';').unwrap_or(tree.len())], &mut paths);
        let line = source.line_at(at);
        found.extend(paths.into_iter().map(|path| (line, path)));
    }
    found
}

fn spell_out(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, list)) = tree.split_once('{') else {
        paths.push(format!("{prefix}{}", tree.split_whitespace().next().unwrap_or_default()));
        return;
    };
    let list = list.strip_suffix('}').unwrap_or(list);
    let mut depth = 0_usize;
    let parts = list.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    for part in parts.filter(|part| !part.trim().is_empty()) {
        spell_out(&format!("{prefix}{}", head.trim()), part, paths);
    }
}

/// The modules of this crate that the code names, with their lines, in imports and in paths elsewhere.
fn modules_named(source: &Source) -> BTreeSet<(usize, String)> {
    let first = |path: &str| path.chars().take_while(|c| in_name(*c)).collect::<String>();
    let mut found = BTreeSet::new();
    for (line, path) in imports(source) {
        // `super` leads out of a module as well; whatever it leads to within it has no name of a top module.
        let up = path.rsplit_once("super::").map(|(_, rest)| first(rest)).filter(|name| is_top_module(name));
        found.extend(path.strip_prefix("crate::").map(first).or(up).map(|name| (line, name)));
    }
    for (at, start) in source.code.match_indices("crate::") {
        let name = first(&source.code[at + start.len()..]);
        if !source.code[..at].ends_with(in_name) && !name.is_empty() {
            found.insert((source.line_at(at), name));
        }
    }
    found
}

fn is_top_module(name: &str) -> bool {
    SHELL.contains(&name) || LAYERS.iter().any(|(module, _)| *module == name)
}

// ---- rules --------------------------------------------------------------------------------------------------

fn core_names_nothing_impure(source: &Source) -> Vec<Finding> {
    if !LAYERS.iter().any(|(module, _)| source.module() == Some(module)) {
        return Vec::new();
    }
    let mut findings: Vec<Finding> = Vec::new();
    for name in IMPURE {
        let what = format!("a core module names {name}");
        // A crate's name may be a field's as well; a path is nothing but itself.
        let hit = |line: &str| if name.contains("::") { names(line, name) } else { names_crate(line, name) };
        findings.extend(source.find(hit, &what));
        let imported = imports(source).into_iter().filter(|(_, path)| is_or_is_in(path, name));
        findings.extend(imported.map(|(line, _)| source.finding(line, &what)));
    }
    let is_async = |line: &str| line.contains("async fn ") || line.contains(".await");
    findings.extend(source.find(is_async, "a core module waits for something"));
    findings.sort_by_key(|finding| finding.line);
    findings.dedup_by_key(|finding| finding.line);
    findings
}

fn is_or_is_in(path: &str, outer: &str) -> bool {
    path.trim_start_matches("::")
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn dependencies_point_one_way(source: &Source) -> Vec<Finding> {
    let Some((module, allowed)) = LAYERS.iter().find(|(module, _)| source.module() == Some(module)) else {
        return Vec::new();
    };
    let named = modules_named(source).into_iter();
    let wrong = named.filter(|(_, name)| name != module && !allowed.contains(&name.as_str()));
    wrong.map(|(line, name)| source.finding(line, &format!("{module} may not use {name}"))).collect()
}

fn one_owner_of_provider_sockets(source: &Source) -> Vec<Finding> {
    if source.module().is_none() || SOCKET_OWNERS.iter().any(|owner| source.is_in(owner)) {
        return Vec::new();
    }
    let what = "provider sockets belong to deliver/h2pool.rs";
    let mut findings = source.find(|line| PROVIDER_SOCKETS.iter().any(|name| names(line, name)), what);
    let mut imported = imports(source);
    imported.retain(|(_, path)| PROVIDER_SOCKETS.iter().any(|name| is_or_is_in(path, name)));
    findings.extend(imported.iter().map(|(line, _)| source.finding(*line, what)));
    findings.dedup_by_key(|finding| finding.line);
    findings
}

fn only_app_and_dispatch_see_all(source: &Source) -> Vec<Finding> {
    if source.module().is_none_or(|module| SEES_ALL.contains(&module)) {
        return Vec::new();
    }
    let named = modules_named(source);
    let line_of = |module: &str| named.iter().find(|(_, name)| name == module).map(|(line, _)| *line);
    match (line_of("intake"), line_of("deliver")) {
        (Some(a), Some(b)) => {
            vec![source.finding(a.max(b), "only app and dispatch use both intake and deliver")]
        }
        _ => Vec::new(),
    }
}

fn files_are_one_room(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    if source.module().is_none() || lines <= LONGEST_FILE {
        return Vec::new();
    }
    vec![source.finding(lines, &format!("{lines} lines: more than {LONGEST_FILE} are several rooms"))]
}

fn nothing_is_unwrapped(source: &Source) -> Vec<Finding> {
    source.find(|line| line.contains(".unwrap()"), "unwrap: an error, or an expect that states its invariant")
}

fn nothing_is_unfinished(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().enumerate();
    let unfinished = lines.filter(|(_, line)| UNFINISHED.iter().any(|mark| line.contains(mark)));
    unfinished.map(|(at, _)| source.finding(at + 1, "unfinished work")).collect()
}

fn no_test_is_ignored(source: &Source) -> Vec<Finding> {
    let hit = |line: &str| {
        let line = line.trim_start();
        line.starts_with("#[ignore") || line.starts_with("#[cfg_attr") && names(line, "ignore")
    };
    source.find(hit, "an ignored test proves nothing")
}

/// In `tests/` and in the test modules under `src/` (from `#[cfg(test)]` to the end of the file).
fn no_test_sleeps(source: &Source) -> Vec<Finding> {
    let first = if source.path.starts_with("tests/") {
        Some(1)
    } else {
        source.code.lines().position(|line| line.trim_start().starts_with("#[cfg(test)]")).map(|at| at + 1)
    };
    let Some(first) = first else { return Vec::new() };
    let hit =
        |line: &str| line.contains("sleep(") || line.contains("sleep_until(") || names(line, "sleep_ms");
    let mut findings = source.find(hit, "a test sleeps: wait for the event, with a deadline");
    findings.retain(|finding| finding.line >= first);
    findings
}

fn words_say_something(source: &Source) -> Vec<Finding> {
    let hit = |line: &str| {
        let line = line.to_lowercase();
        EMPTY_WORDS.iter().find(|word| names(&line, word)).copied()
    };
    let lines = source.text.lines().enumerate();
    lines
        .filter_map(|(at, line)| Some(source.finding(at + 1, &format!("an empty word: {}", hit(line)?))))
        .collect()
}

fn types_have_names(source: &Source) -> Vec<Finding> {
    let hit = |line: &str| {
        let mut words = line.split(|c| !in_name(c));
        let declared = words.any(|word| matches!(word, "struct" | "enum" | "trait" | "type"));
        declared && words.next().is_some_and(|name| EMPTY_NAMES.iter().any(|end| name.ends_with(end)))
    };
    if source.module().is_none() {
        return Vec::new();
    }
    source.find(hit, "a type's name says what it is: no Manager, Handler, Helper, Util, Data, Info, Service")
}

// ---- the tests that hold the tree ---------------------------------------------------------------------------

type Rule = fn(&Source) -> Vec<Finding>;

fn hold(rule: Rule, files: &[Source]) {
    let findings: Vec<String> = files.iter().flat_map(rule).map(|finding| finding.to_string()).collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn code() -> Vec<Source> {
    let mut files = sources(&["src", "tests"], ".rs");
    // This file plants what the rules forbid, and trybuild's files are meant not to compile.
    files.retain(|source| source.path != "tests/tidy.rs" && !source.is_in("tests/ui"));
    files
}

#[test]
fn the_tree_is_layered() {
    let files = code();
    hold(core_names_nothing_impure, &files);
    hold(dependencies_point_one_way, &files);
    hold(one_owner_of_provider_sockets, &files);
    hold(only_app_and_dispatch_see_all, &files);
}

#[test]
fn the_sources_are_finished() {
    let mut files = code();
    hold(files_are_one_room, &files);
    hold(nothing_is_unwrapped, &files);
    hold(no_test_is_ignored, &files);
    hold(no_test_sleeps, &files);
    files.extend(sources(&["deploy", ".ci"], ""));
    hold(nothing_is_unfinished, &files);
}

#[test]
fn the_words_are_chosen() {
    hold(types_have_names, &code());
    hold(words_say_something, &sources(&["README.md", "src", "audiences", "deploy", "migrations"], ""));
}

#[test]
fn the_tree_is_read_at_all() {
    assert!(
        code().iter().any(|source| source.path == "src/lib.rs"),
        "the rules above would hold for nothing"
    );
}

// ---- the tests of the rules ---------------------------------------------------------------------------------

/// The lines on which a rule finds something in a planted file.
fn found(rule: Rule, path: &str, text: &str) -> Vec<usize> {
    rule(&Source::new(path, text)).iter().map(|finding| finding.line).collect()
}

#[test]
fn comments_and_literals_are_no_code() {
    let text = "a // b\n/* c /* d */\ne */ f \"g \\\" h\" 'i' '\\'' &'j k r#\"l\n\"m\"# br\"n\" for_r\"o\" p";
    let words: Vec<String> = code_only(text).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["a", "f", "&'j", "k", "b", "for_r", "p"]);
    assert_eq!(code_only(text).lines().count(), text.lines().count());
}

#[test]
fn a_core_module_that_names_a_runtime_is_found() {
    for planted in [
        "use tokio::sync::Mutex;",
        "    ::tokio::spawn(x);",
        "pub use sqlx;",
        "fn f(x: lapin::Channel) {}",
        "use std::net::IpAddr;",
        "use std::{net, fmt};",
        "use std::time::{Duration, SystemTime as Now};",
        "#[tokio::test]",
        "use std::{\n    fmt,\n    net::{IpAddr, Ipv4Addr},\n};",
        "pub async fn decide() {}",
        "type T = h2::Reason;",
    ] {
        for path in
            ["src/model/ids.rs", "src/guard/mod.rs", "src/pace.rs", "src/rollout.rs", "src/audience/a.rs"]
        {
            assert_eq!(
                found(core_names_nothing_impure, path, &format!("\n{planted}")),
                [2],
                "{planted} in {path}"
            );
        }
        assert_eq!(found(core_names_nothing_impure, "src/dispatch/direct.rs", planted), [0; 0], "{planted}");
    }
}

#[test]
fn a_core_module_may_speak_of_what_it_may_not_name() {
    for innocent in [
        "// tokio::spawn is the shell's",
        "let x = \"std::net::IpAddr\";",
        "let h2 = self.h2 + 1;",
        "use std::time::Duration;",
        "use crate::model::tokio_free;",
        "fn net(gross: u64) {}",
    ] {
        assert_eq!(found(core_names_nothing_impure, "src/model/ids.rs", innocent), [0; 0], "{innocent}");
    }
}

#[test]
fn an_import_against_the_direction_is_found() {
    let rule = dependencies_point_one_way;
    assert_eq!(found(rule, "src/model/job.rs", "use crate::guard::Verdict;"), [1]);
    assert_eq!(found(rule, "src/audience/mod.rs", "use crate::{model::Job, guard::{Verdict, clear}};"), [1]);
    assert_eq!(found(rule, "src/guard/mod.rs", "use crate::{\n    model,\n    ledger::Started,\n};"), [1]);
    assert_eq!(found(rule, "src/guard/mod.rs", "\nfn f() { crate::clock::now() }"), [2]);
    assert_eq!(found(rule, "src/pace.rs", "use crate::audience::Class;"), [1]);
    assert_eq!(found(rule, "src/pace.rs", "use super::{config, model};"), [1]);
    assert_eq!(found(rule, "src/rollout/mod.rs", "pub(crate) use crate::dispatch::x;"), [1]);
}

#[test]
fn an_import_in_the_direction_is_free() {
    let rule = dependencies_point_one_way;
    assert_eq!(found(rule, "src/model/job.rs", "use crate::model::ids::{JobId, guard};"), [0; 0]);
    assert_eq!(
        found(rule, "src/guard/mod.rs", "pub(crate) use crate::{audience::Class, model::{Job, app}};"),
        [0; 0]
    );
    assert_eq!(found(rule, "src/rollout/mod.rs", "use crate::guard;"), [0; 0]);
    assert_eq!(
        found(rule, "src/model/job.rs", "use super::ids::JobId;\nuse super::super::model::Job;"),
        [0; 0]
    );
    assert_eq!(found(rule, "src/ledger/mod.rs", "use crate::guard::Cleared;"), [0; 0]);
}

#[test]
fn a_second_owner_of_provider_sockets_is_found() {
    let rule = one_owner_of_provider_sockets;
    assert_eq!(found(rule, "src/deliver/apns.rs", "\nlet (a, b) = h2::client::handshake(io);"), [2]);
    assert_eq!(found(rule, "src/deliver/fcm.rs", "use h2::{client, Reason};"), [1]);
    assert_eq!(found(rule, "src/cli/check.rs", "TcpStream::connect(at)"), [1]);
    assert_eq!(
        found(rule, "src/deliver/h2pool.rs", "h2::client::handshake(io); TcpStream::connect(at)"),
        [0; 0]
    );
    assert_eq!(found(rule, "src/simulator/apns.rs", "h2::client::handshake(io)"), [0; 0]);
    assert_eq!(found(rule, "src/simulators.rs", "h2::client::handshake(io)"), [1]);
}

#[test]
fn a_module_that_sees_both_ends_is_found() {
    let rule = only_app_and_dispatch_see_all;
    let both = "use crate::intake::Taken;\nuse crate::{deliver::send, model};";
    assert_eq!(found(rule, "src/api/mod.rs", both), [2]);
    assert_eq!(found(rule, "src/app.rs", both), [0; 0]);
    assert_eq!(found(rule, "src/dispatch/direct.rs", both), [0; 0]);
    assert_eq!(found(rule, "src/api/mod.rs", "use crate::intake::Taken;"), [0; 0]);
}

#[test]
fn a_long_file_is_found() {
    assert_eq!(found(files_are_one_room, "src/app.rs", &"x\n".repeat(LONGEST_FILE + 1)), [LONGEST_FILE + 1]);
    assert_eq!(found(files_are_one_room, "src/app.rs", &"x\n".repeat(LONGEST_FILE)), [0; 0]);
}

#[test]
fn an_unwrap_is_found() {
    assert_eq!(found(nothing_is_unwrapped, "src/app.rs", "let a = b\n    .unwrap();"), [2]);
    assert_eq!(
        found(nothing_is_unwrapped, "tests/it/main.rs", "// .unwrap() is banned\na.unwrap_or(b)"),
        [0; 0]
    );
}

#[test]
fn unfinished_work_is_found() {
    for mark in UNFINISHED {
        assert_eq!(found(nothing_is_unfinished, "src/app.rs", &format!("a\n// {mark} later")), [2], "{mark}");
    }
}

#[test]
fn an_ignored_test_is_found() {
    assert_eq!(
        found(no_test_is_ignored, "tests/it/main.rs", "#[test]\n#[ignore = \"slow\"]\nfn a() {}"),
        [2]
    );
    assert_eq!(found(no_test_is_ignored, "src/app.rs", "#[cfg_attr(windows, ignore)]"), [1]);
    assert_eq!(found(no_test_is_ignored, "src/app.rs", "let ignore = 1;"), [0; 0]);
}

#[test]
fn a_sleeping_test_is_found() {
    let sleeping =
        "fn a() { tokio::time::sleep(d).await }\n#[cfg(test)]\nmod tests { fn b() { thread::sleep(d) } }";
    assert_eq!(found(no_test_sleeps, "src/pace.rs", sleeping), [3]);
    assert_eq!(found(no_test_sleeps, "tests/it/main.rs", sleeping), [1, 3]);
    assert_eq!(found(no_test_sleeps, "src/pace.rs", "fn a() { sleep(d) }"), [0; 0]);
}

#[test]
fn an_empty_word_is_found() {
    assert_eq!(found(words_say_something, "README.md", "It is\nBlazingly fast."), [2]);
    assert_eq!(found(words_say_something, "README.md", "A whitelisted word is not the word."), [0; 0]);
}

#[test]
fn an_empty_name_is_found() {
    assert_eq!(found(types_have_names, "src/app.rs", "pub(crate) struct JobManager<T> {"), [1]);
    assert_eq!(found(types_have_names, "src/app.rs", "enum Info {"), [1]);
    assert_eq!(found(types_have_names, "src/app.rs", "pub struct Datagram(u8);\nuse axum::Handler;"), [0; 0]);
}
