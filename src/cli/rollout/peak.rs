//! The peak of app opens: how it stands against what our own systems take, and how an approver accepts one that is above that.

use std::io::{self, BufRead as _, IsTerminal as _};

use super::table::named;
use crate::{
    api::wire::{Opens, PreviewStage},
    cli::{
        Exit,
        exit::With,
        output::{self, COLUMNS, Colour, Paint, indented, visible},
    },
};

/// How many will open the app at once, and which part that is of what our own systems take.
pub(super) fn estimate(opens: &Opens, app: &str) -> String {
    let Opens { peak_per_second, stage, assumed, capacity, .. } = opens;
    let against = match capacity {
        Some(capacity) => {
            let percent = peak_per_second / f64::from(*capacity) * 100.0;
            format!("{} % of the {capacity}/s that our own systems take", percent.ceil())
        }
        None => format!(
            "nobody has declared what our own systems take: set capacity under [apps.\"{}\".opens]",
            visible(app)
        ),
    };
    let peak = format!("about {} app opens a second at the most, in stage {stage}", peak_per_second.ceil());
    // A line each: where one breaks would depend on the numbers.
    [named("peak", &peak), named("", &against), named("", &visible(assumed))].join("\n")
}

/// What nobody is to overlook: more people at once than our own systems take.
pub(super) fn warning(opens: &Opens, stages: &[PreviewStage], paint: Paint) -> Option<String> {
    let Opens { stage, capacity, accept_peak, .. } = opens;
    let (accept, capacity) = accept_peak.zip(*capacity)?;
    let slower = stages.iter().filter_map(|stage| {
        let rate = stage.rate_within?;
        Some(format!("max_rate = {rate} in stage {}", stage.stage))
    });
    let slower: Vec<_> = slower.collect();
    let together = stages.iter().all(|stage| stage.peak_per_second < opens.peak_per_second);
    let alone = (!slower.is_empty()).then(|| {
        let whose = if together { "Alone, each of its stages" } else { "The plan" };
        format!("{whose} stays within that with {}.", slower.join(", "))
    });
    let all = "Its stages come to that together: watch each for longer, or send them more slowly.";
    let mut said = vec![format!(
        "About {accept} people a second would open the app in stage {stage}. Our own systems take {capacity} a second."
    )];
    said.extend(alone);
    said.extend(together.then(|| all.to_owned()));
    said.push(format!(
        "Whoever approves it all the same types `{}`, or gives --accept-peak={accept}.",
        phrase(accept)
    ));
    let head = "┏━ MORE THAN OUR OWN SYSTEMS TAKE ";
    let rule = |left: &str| format!("{left}{}", "━".repeat(COLUMNS - left.chars().count()));
    let mut lines = vec![rule(head)];
    for text in &said {
        lines.extend(indented(text, 2).lines().map(|line| format!("┃{}", &line[1..])));
    }
    lines.push(rule("┗"));
    let painted: Vec<_> = lines.iter().map(|line| paint.with(Colour::Red, line)).collect();
    Some(painted.join("\n"))
}

/// What somebody types who accepts it.
fn phrase(accept: u64) -> String {
    format!("accept {accept}")
}

/// What the approver accepts: what they gave, or type. `None` if there is nothing to accept.
pub(super) fn accepted(opens: &Opens, given: Option<u64>) -> Result<Option<u64>, With> {
    let Some(accept) = opens.accept_peak else { return Ok(None) };
    let typed = match given {
        Some(given) => Some(given),
        None if io::stdin().is_terminal() => asked(accept)?,
        None => None,
    };
    judged(opens, accept, typed).map(Some)
}

/// Asks the person at the terminal.
fn asked(accept: u64) -> Result<Option<u64>, With> {
    output::remark(&format!("Our own systems do not take that. To accept it, type `{}`:", phrase(accept)));
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| With(Exit::Error, format!("nothing is approved: {error}")))?;
    Ok(typed(&line))
}

/// Reads `accept 412`.
fn typed(line: &str) -> Option<u64> {
    let mut words = line.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some("accept"), Some(peak), None) => peak.parse().ok(),
        _ => None,
    }
}

fn judged(opens: &Opens, accept: u64, said: Option<u64>) -> Result<u64, With> {
    if let Some(said) = said.filter(|said| *said == accept) {
        return Ok(said);
    }
    let but = said.map(|said| format!("{said} is another number; ")).unwrap_or_default();
    let takes =
        opens.capacity.map(|capacity| format!(", and our own systems take {capacity}")).unwrap_or_default();
    let message = format!(
        "nothing is approved: about {accept} app opens a second are expected in stage {}{takes}; {but}let the plan go slower, \
         or accept it with --accept-peak={accept}",
        opens.stage
    );
    Err(With(Exit::Waits, message))
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::{super::samples, *};
    use crate::api::wire::Preview;

    fn told(preview: &Preview) -> String {
        estimate(&preview.opens, &preview.rollout.summary.app)
    }

    fn warned(preview: &Preview, paint: Paint) -> Option<String> {
        warning(&preview.opens, &preview.stages, paint)
    }

    #[test]
    fn a_peak_is_told_against_what_our_own_systems_take() {
        insta::assert_snapshot!(told(&samples::preview()), @r"
        peak       about 160 app opens a second at the most, in stage 4
                   54 % of the 300/s that our own systems take
                   8 % of those who are rung open the app, half of them within 90 s
        ");
        let mut undeclared = samples::preview();
        undeclared.opens.capacity = None;
        insta::assert_snapshot!(told(&undeclared), @r#"
        peak       about 160 app opens a second at the most, in stage 4
                   nobody has declared what our own systems take: set capacity under
                   [apps."pl.example.bank".opens]
                   8 % of those who are rung open the app, half of them within 90 s
        "#);
        assert_eq!(warned(&samples::preview(), Paint::NONE), None);
    }

    #[test]
    fn more_than_our_own_systems_take_is_not_to_be_overlooked() {
        let above = samples::above_capacity();
        let told = warned(&above, Paint::NONE).expect("it is above");
        assert!(told.lines().all(|line| line.width() <= COLUMNS), "{told}");
        insta::assert_snapshot!(told, @r"
        ┏━ MORE THAN OUR OWN SYSTEMS TAKE ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
        ┃ About 160 people a second would open the app in stage 4. Our own systems take
        ┃ 120 a second.
        ┃ The plan stays within that with max_rate = 7134 in stage 3, max_rate = 1503 in
        ┃ stage 4.
        ┃ Whoever approves it all the same types `accept 160`, or gives
        ┃ --accept-peak=160.
        ┗━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
        ");
        let mut short = samples::above_capacity();
        short.stages.iter_mut().for_each(|stage| (stage.peak_per_second, stage.rate_within) = (70.0, None));
        let told = warned(&short, Paint::NONE).expect("it is above");
        assert!(told.contains("come to that together") && !told.contains("stays within"), "{told}");
        let told = warned(&above, Paint::NONE).expect("it is above");
        let painted = warned(&above, Paint::ALWAYS).expect("it is above");
        assert!(painted.lines().all(|line| line.starts_with("\u{1b}[31m") && line.ends_with("\u{1b}[0m")));
        assert!(
            super::super::boxes::preview(&above, Paint::NONE).ends_with(&told),
            "it is the last that is read"
        );
    }

    #[test]
    fn only_the_peak_itself_accepts_it() {
        let opens = samples::above_capacity().opens;
        let judged =
            |said| judged(&opens, 160, said).map_err(|With(exit, message)| format!("{exit:?}: {message}"));
        assert_eq!(judged(Some(160)), Ok(160));
        assert!(judged(Some(412)).is_err(), "a number that nobody has looked at");
        insta::assert_snapshot!(judged(Some(159)).expect_err("too few"), @"Waits: nothing is approved: about 160 app opens a second are expected in stage 4, and our own systems take 120; 159 is another number; let the plan go slower, or accept it with --accept-peak=160");
        insta::assert_snapshot!(judged(None).expect_err("nobody said so"), @"Waits: nothing is approved: about 160 app opens a second are expected in stage 4, and our own systems take 120; let the plan go slower, or accept it with --accept-peak=160");
        assert_eq!(
            accepted(&samples::preview().opens, Some(7)).ok(),
            Some(None),
            "there is nothing to accept"
        );
        for (line, read) in [
            (" accept  160 \n", Some(160)),
            ("160", None),
            ("yes", None),
            ("accept", None),
            ("accept 160 !", None),
        ] {
            assert_eq!(typed(line), read, "{line}");
        }
    }
}
