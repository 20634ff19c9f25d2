//! What changed between two policies, as people read it.

use std::path::Path;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use similar::TextDiff;

use super::PolicyFile;

/// How long the shortest way from one text to the other is looked for; after that a longer one will do. The files of a policy
/// take a millisecond; what somebody made to be hard must not hold up a processor.
const SHORTEST_WITHIN: Duration = Duration::from_millis(500);

/// Lines that are told: more nobody reads, and a program compares the files.
const MOST_LINES: usize = 5_000;

/// The differences, a line each, as `diff -u` writes them; none if there are none. Of a list of members only the counts
/// are told: who they are is not for everybody who may read a policy.
#[must_use]
pub fn diff(before: &[PolicyFile], after: &[PolicyFile]) -> Vec<String> {
    let by_path = |files: &'_ [PolicyFile]| -> BTreeMap<String, String> {
        files.iter().map(|file| (file.path.clone(), file.text.clone())).collect()
    };
    let (before, after) = (by_path(before), by_path(after));
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut lines = Vec::new();
    for path in paths {
        let (old, new) = (before.get(path), after.get(path));
        if old == new {
            continue;
        }
        let text = |file: Option<&String>| file.cloned().unwrap_or_default();
        let (old_text, new_text) = (text(old), text(new));
        let name = |file: Option<&String>| if file.is_some() { path.as_str() } else { "/dev/null" };
        if Path::new(path).extension().is_some_and(|extension| extension == "txt") {
            lines.extend(members(path, &old_text, &new_text));
            continue;
        }
        let diff =
            TextDiff::configure().timeout(SHORTEST_WITHIN).diff_lines(old_text.as_str(), new_text.as_str());
        let unified = diff.unified_diff().context_radius(2).header(name(old), name(new)).to_string();
        lines.extend(unified.lines().map(str::to_owned));
    }
    if lines.len() > MOST_LINES {
        let more = lines.len() - MOST_LINES;
        lines.truncate(MOST_LINES);
        lines.push(format!("… and {more} more lines"));
    }
    lines
}

fn members(path: &str, before: &str, after: &str) -> [String; 3] {
    let people = |text: &str| -> BTreeSet<String> {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    let (before, after) = (people(before), people(after));
    let (gone, come) = (before.difference(&after).count(), after.difference(&before).count());
    [format!("--- {path}"), format!("+++ {path}"), format!("@@ {gone} members removed, {come} added @@")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> PolicyFile {
        PolicyFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_change_is_told_by_file_and_line_and_members_only_by_their_count() {
        let before = [
            file("apps.toml", "a = 1\n"),
            file("cohorts/staff.txt", "anna\nbela\n"),
            file("plans/gone.toml", "x = 1\n"),
            file("plans/same.toml", "y = 1\n"),
        ];
        let after = [
            file("plans/same.toml", "y = 1\n"),
            file("cohorts/staff.txt", "anna\ncyril\ndora\n"),
            file("apps.toml", "a = 2\n"),
        ];
        let told = diff(&before, &after);
        assert_eq!(
            told,
            [
                "--- apps.toml",
                "+++ apps.toml",
                "@@ -1 +1 @@",
                "-a = 1",
                "+a = 2",
                "--- cohorts/staff.txt",
                "+++ cohorts/staff.txt",
                "@@ 1 members removed, 2 added @@",
                "--- plans/gone.toml",
                "+++ /dev/null",
                "@@ -1 +0,0 @@",
                "-x = 1",
            ]
        );
        assert_eq!(diff(&after, &after), Vec::<String>::new());
    }
}
