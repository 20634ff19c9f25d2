//! An audience in words: what its file says, for somebody who has not read it.

use std::{fmt::Display, time::Duration};

use crate::{
    audience::{Audience, Select, Who},
    model::{Locale, Scalar},
};

/// Whom an audience finds, a condition a line; all of them hold.
pub(super) fn conditions(audience: &Audience) -> Vec<String> {
    match &audience.who {
        Who::Members(members) => {
            vec![format!("{}, listed by name", counted(members.len(), "person", "people"))]
        }
        Who::Select(select) => selected(select),
    }
}

fn selected(select: &Select) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |is_there: bool, line: &dyn Fn() -> String| {
        if is_there {
            lines.push(line());
        }
    };
    let countries: Vec<&str> = select.country.iter().map(|country| country.as_str()).collect();
    let platforms: Vec<&str> = select.platform.iter().map(|platform| platform.as_str()).collect();
    let zones: Vec<&str> = select.timezone.iter().map(|zone| zone.as_str()).collect();
    let versions: Vec<&str> = select.app_version.iter().map(|bound| bound.text.as_str()).collect();
    say(!countries.is_empty(), &|| format!("the country is {}", any(&countries)));
    say(!platforms.is_empty(), &|| format!("the platform is {}", any(&platforms)));
    say(!select.language.is_empty(), &|| {
        let languages: Vec<&str> = select.language.iter().map(Locale::as_str).collect();
        format!("the language is {}, or a variety of it", any(&languages))
    });
    say(!zones.is_empty(), &|| format!("the time zone is {}", any(&zones)));
    say(!versions.is_empty(), &|| format!("the app's version is {}", versions.join(" and ")));
    say(!select.tags.is_empty(), &|| format!("has the tag {}", any(&select.tags)));
    say(!select.tags_all.is_empty(), &|| format!("has all of the tags {}", select.tags_all.join(", ")));
    for (name, value) in &select.attributes {
        say(true, &|| format!("the attribute {name} is {}", scalar(value)));
    }
    let within = [
        (select.last_seen_within, "opened the app within the last"),
        (select.not_seen_within, "opened the app once, but not within the last"),
        (select.registered_within, "was registered, for the first time or again, within the last"),
    ];
    for (time, words) in within {
        if let Some(time) = time {
            say(true, &|| format!("{words} {}", span(time)));
        }
    }
    lines
}

/// `a`, `a or b`, `a, b or c`.
fn any<T: Display>(words: &[T]) -> String {
    match words {
        [] => String::new(),
        [only] => only.to_string(),
        [most @ .., last] => {
            let most: Vec<String> = most.iter().map(ToString::to_string).collect();
            format!("{} or {last}", most.join(", "))
        }
    }
}

fn scalar(value: &Scalar) -> String {
    serde_json::to_string(value).expect("a scalar has a JSON form")
}

fn counted(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// In the largest unit that it is a whole number of.
fn span(time: Duration) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let seconds = time.as_secs();
    let whole = UNITS.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit) && seconds > 0);
    let (count, unit) = whole.map_or((seconds, "second"), |(unit, name)| (seconds / unit, name));
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    counted(count, unit, &format!("{unit}s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_times_read_as_people_say_them() {
        assert_eq!(any(&["a"]), "a");
        assert_eq!(any(&["a", "b", "c"]), "a, b or c");
        let spans = [90, 86_400, 5_400, 90 * 86_400].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["90 seconds", "1 day", "90 minutes", "90 days"]);
        assert_eq!(counted(1, "person", "people"), "1 person");
    }
}
