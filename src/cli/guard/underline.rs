//! A place in a text, as two lines: the text around it, and a mark below. By columns of the screen, not by letters: a letter
//! of Chinese is two wide, a combining accent none.

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use crate::{
    cli::output::{COLUMNS, shortened, visible},
    guard::Span,
};

/// Columns before the place: enough to recognise it.
const BEFORE: usize = 30;

/// The two lines. The span must lie on the text's borders of characters.
pub(super) fn underlined(text: &str, span: &Span) -> [String; 2] {
    let shown = |range: &str| visible(range);
    let (before, place, after) = (&text[..span.start], &text[span.clone()], &text[span.end..]);
    let before = last_columns(&shown(before), BEFORE);
    let place = shortened(&shown(place), COLUMNS - BEFORE - 10);
    let room = COLUMNS.saturating_sub(4 + before.width() + place.width());
    let after = shortened(&shown(after), room.max(1));
    let mark = format!("{}{}", " ".repeat(before.width()), "^".repeat(place.width().max(1)));
    [format!("{before}{place}{after}"), mark]
}

/// The end of a text, as much as fits.
fn last_columns(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut kept = Vec::new();
    let mut width = 1;
    for letter in text.graphemes(true).rev() {
        width += letter.width();
        if width > columns {
            break;
        }
        kept.push(letter);
    }
    kept.reverse();
    format!("…{}", kept.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands above the marks, by columns.
    fn marked(text: &str, place: &str) -> String {
        let start = text.find(place).expect("it is there");
        let [line, mark] = underlined(text, &(start..start + place.len()));
        let (from, to) = (mark.find('^').expect("a mark"), mark.width());
        let mut column = 0;
        let mut under = String::new();
        for letter in line.graphemes(true) {
            if column >= from && column < to {
                under.push_str(letter);
            }
            column += letter.width();
        }
        under
    }

    #[test]
    fn the_mark_stands_under_the_place_whatever_is_before_it() {
        for before in ["", "Cześć ", "您好，", "e\u{301}e\u{301} ", "🎉 ", "a\nb\t", &"długo ".repeat(40)]
        {
            let text = format!("{before}{{{{imię}}}} i reszta");
            assert_eq!(marked(&text, "{{imię}}"), "{{imię}}", "{before:?}");
        }
        assert_eq!(marked("naciśnij 这里 teraz", "这里"), "这里");
    }

    #[test]
    fn a_line_is_as_long_as_a_screen_is_wide() {
        let text = format!("{}{{x}}{}", "ą".repeat(500), "ż".repeat(500));
        let start = 1_000;
        for line in underlined(&text, &(start..start + 3)) {
            assert!(line.width() <= COLUMNS, "{line}");
        }
    }
}
