//! Names that somebody may have meant.

/// So many are worth naming.
const MOST: usize = 3;

/// The known names that are close to `wanted`, the closest first: a third of it may be mistyped, or one is a part of the other.
pub(super) fn near<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let may_differ = (wanted.chars().count() / 3).max(1);
    let close = known.filter_map(|name| {
        let distance = distance(wanted, name);
        let is_part = name.contains(wanted) || wanted.contains(name);
        (distance <= may_differ || is_part).then_some((distance, name))
    });
    let mut close: Vec<_> = close.collect();
    close.sort_unstable();
    close.into_iter().take(MOST).map(|(_, name)| name).collect()
}

/// How many letters must be added, left out or changed (Levenshtein, 1965).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (column, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_probably_meant_comes_first() {
        assert_eq!(["kitten", "", "abc", "sittings"].map(|from| distance(from, "sitting")), [3, 7, 7, 1]);
        let known = ["customers-pl", "customers-de", "staff", "qa-phones"];
        let near = |wanted| near(wanted, known.into_iter());
        assert_eq!(near("custmers-pl"), ["customers-pl", "customers-de"]);
        assert_eq!(near("customers"), ["customers-de", "customers-pl"]);
        assert_eq!(near("staf"), ["staff"]);
        assert!(near("nobody").is_empty());
    }
}
