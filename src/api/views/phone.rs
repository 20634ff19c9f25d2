//! A text as a phone shows it before anybody touches it: in so many lines, and cut where they end.
//!
//! How much fits depends on the phone, its text size and the letters. These are the vendors' own rules of thumb, in
//! columns: a letter of most scripts is one, one of East Asia's two (Unicode Annex 11), and nothing is cut inside what
//! a reader takes for one character (Annex 29). Text that runs from right to left is cut at its end too, which is on its left:
//! the order here is the order of reading.

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use crate::api::wire::Truncated;

/// How much a phone shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Screen {
    /// Columns of a line.
    pub(super) columns: usize,
    /// Lines of the body. A title has one.
    pub(super) lines: usize,
}

/// A locked iPhone: four lines, 160 characters.
/// <https://www.braze.com/docs/help/best_practices/image_and_text_specifications/>,
/// <https://www.braze.com/docs/help/best_practices/push/message_format/>
pub(super) const IOS: Screen = Screen { columns: 40, lines: 4 };

/// Android's drawer, not opened: one line, about 49 characters; the same sources. That it is one line says Google:
/// <https://developer.android.com/develop/ui/views/notifications/expanded>
pub(super) const ANDROID: Screen = Screen { columns: 49, lines: 1 };

impl Screen {
    /// The text as it is shown.
    pub(super) fn show(self, title: Option<&str>, body: &str) -> Truncated {
        let title = title.map(|title| {
            let one_line: Vec<&str> = title.split_whitespace().collect();
            self.cut(&one_line.join(" "), 1)
        });
        let (body, body_cut) = self.cut(body, self.lines);
        let (title, title_cut) = title.unzip();
        Truncated {
            title: title.and_then(|lines| lines.into_iter().next()),
            body,
            cut: body_cut || title_cut.unwrap_or(false),
        }
    }

    /// The first `most` lines, and whether that was not all.
    fn cut(self, text: &str, most: usize) -> (Vec<String>, bool) {
        let mut lines = self.wrap(text.trim_end(), most + 1);
        let cut = lines.len() > most;
        lines.truncate(most);
        if cut && let Some(last) = lines.last_mut() {
            self.end(last);
        }
        (lines, cut)
    }

    /// Breaks a text between words, or within one that is longer than a line; stops after `most` lines.
    fn wrap(self, text: &str, most: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for paragraph in text.lines() {
            if lines.len() >= most {
                break;
            }
            self.wrap_paragraph(paragraph, most, &mut lines);
        }
        lines.truncate(most);
        lines
    }

    fn wrap_paragraph(self, paragraph: &str, most: usize, lines: &mut Vec<String>) {
        let mut line = String::new();
        // Where the line may end, at the latest.
        let mut may_end: Option<usize> = None;
        for letter in paragraph.graphemes(true) {
            let is_space = letter.chars().all(char::is_whitespace);
            let columns = letter.width();
            if columns == 2 && !line.is_empty() {
                may_end = Some(line.len());
            }
            // The width of a text is not that of its letters: some join.
            let width = width_with(&mut line, letter);
            if width > self.columns && !line.is_empty() {
                if lines.len() >= most {
                    return;
                }
                let mut rest =
                    if is_space { String::new() } else { line.split_off(may_end.unwrap_or(line.len())) };
                // A letter that is nothing by itself may have made its neighbour narrower.
                if width_with(&mut rest, letter) > self.columns {
                    line.push_str(&rest);
                    rest.clear();
                }
                lines.push(line.trim_end().to_owned());
                (line, may_end) = (rest, None);
                if is_space {
                    continue;
                }
            }
            line.push_str(if is_space { " " } else { letter });
            if is_space {
                may_end = Some(line.len());
            }
        }
        lines.push(line.trim_end().to_owned());
    }

    /// Ends a line with the sign that something is missing.
    fn end(self, line: &mut String) {
        while width_with(line, "…") > self.columns {
            let Some((at, _)) = line.grapheme_indices(true).next_back() else { break };
            line.truncate(at);
        }
        line.truncate(line.trim_end().len());
        line.push('…');
    }
}

/// How wide a line is once this stands at its end.
fn width_with(line: &mut String, more: &str) -> usize {
    let end = line.len();
    line.push_str(more);
    let width = line.width();
    line.truncate(end);
    width
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: Screen = Screen { columns: 10, lines: 2 };

    #[test]
    fn a_line_ends_between_words() {
        let shown = NARROW.show(Some("News"), "Your card\nwas used");
        assert_eq!((shown.body, shown.cut), (vec!["Your card".to_owned(), "was used".to_owned()], false));
        let shown = NARROW.show(None, "Your card was used in Gdańsk");
        assert_eq!((shown.body, shown.cut), (vec!["Your card".to_owned(), "was used…".to_owned()], true));
        assert_eq!(NARROW.show(None, "exactly 10 and more of").body, ["exactly 10", "and more…"]);
    }

    #[test]
    fn a_title_is_one_line_and_its_cut_is_told() {
        let shown = NARROW.show(Some("A title\nof two lines"), "b");
        assert_eq!((shown.title.as_deref(), shown.cut), (Some("A title o…"), true));
    }

    #[test]
    fn letters_of_east_asia_are_two_columns_wide() {
        let shown = NARROW.show(None, "東京都新宿区西新宿二丁目");
        assert_eq!(shown.body, ["東京都新宿", "区西新宿…"]);
        assert!(shown.body.iter().all(|line| line.width() <= NARROW.columns));
    }

    #[test]
    fn what_reads_as_one_letter_is_not_cut_apart() {
        let family = "👨‍👩‍👧";
        let shown = NARROW.show(None, &family.repeat(20));
        assert_eq!(shown.body, [family.repeat(5), format!("{}…", family.repeat(4))]);
        let accents = "e\u{301}".repeat(30);
        let shown = NARROW.show(None, &accents);
        assert!(shown.body[1].starts_with("e\u{301}") && shown.body[1].ends_with("\u{301}…"));
    }

    #[test]
    fn right_to_left_is_cut_at_its_end() {
        let shown = NARROW.show(None, "שלום לך מן הבנק שלך היום");
        assert_eq!(shown.body[0], "שלום לך מן");
        assert!(shown.body[1].ends_with('…') && shown.cut);
    }

    #[test]
    fn letters_that_join_are_as_wide_as_they_are_together() {
        let text = "\u{f71}aெΣ\u{fffc}AA!A¡aઅ".repeat(3);
        for line in NARROW.show(None, &text).body {
            assert!(line.width() <= NARROW.columns, "{line:?}");
        }
    }

    #[test]
    fn a_prefix_may_be_wider_than_the_whole() {
        let text = "\u{11366}എ𑤷!!!ₐaΣ!A𑜰𝀀પ𑪰!A!0𑢠𝒮0ଅଅaΣ꠰AA!𖠀0ೝ¡🇦צּ!A!🮔Ὀ!®";
        for screen in [NARROW, IOS, ANDROID] {
            for line in screen.show(None, text).body {
                assert!(line.width() <= screen.columns, "{line:?} is {}", line.width());
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_is_too_wide_and_no_text_makes_it_break(text in "\\PC{0,200}", title in "\\PC{0,60}") {
            for screen in [NARROW, IOS, ANDROID] {
                let shown = screen.show(Some(&title), &text);
                proptest::prop_assert!(shown.body.len() <= screen.lines);
                for line in shown.body.iter().chain(&shown.title) {
                    proptest::prop_assert!(line.width() <= screen.columns.max(4), "{line:?}");
                }
            }
        }
    }
}
