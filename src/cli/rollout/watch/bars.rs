//! A bar for each stage, and below them what goes on.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Line;
use crate::{api::wire::StageView, cli::output};

/// What stands on the terminal; nothing is drawn before the first look.
#[derive(Default)]
pub(super) struct Bars {
    screen: MultiProgress,
    stages: Vec<ProgressBar>,
    below: Option<ProgressBar>,
}

impl Bars {
    pub(super) fn show(&mut self, line: &Line<'_>) {
        for (place, stage) in line.view.stages_view.iter().enumerate() {
            if place >= self.stages.len() {
                let bar = ProgressBar::new(0).with_style(style("{prefix:>24} {bar:20} {wide_msg}"));
                self.stages.push(self.screen.add(bar));
            }
            let bar = &self.stages[place];
            bar.set_prefix(output::shortened(
                &format!("{} {}", stage.stage, output::visible(&stage.takes)),
                24,
            ));
            bar.set_length(stage.devices.unwrap_or_default());
            bar.set_position(stage.done.min(stage.devices.unwrap_or_default()));
            bar.set_message(counts(stage));
        }
        let below = self.below.get_or_insert_with(|| {
            self.screen.add(ProgressBar::new_spinner().with_style(style("{spinner} {wide_msg}")))
        });
        below.tick();
        below.set_message(line.told());
    }

    pub(super) fn end(&self) {
        for bar in self.stages.iter().chain(&self.below) {
            bar.finish();
        }
    }
}

/// How many of how many, and how they ended.
fn counts(stage: &StageView) -> String {
    let devices = stage.devices.map_or_else(|| "-".to_owned(), |devices| devices.to_string());
    let ended: Vec<String> =
        stage.outcomes.iter().map(|(name, count)| format!("{count} {}", output::visible(name))).collect();
    let ended = if ended.is_empty() { String::new() } else { format!(": {}", ended.join(", ")) };
    format!("{}/{devices}{ended}", stage.done)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::{super::super::samples, *};

    #[test]
    fn a_stage_says_how_many_of_how_many() {
        let view = samples::view();
        assert_eq!(counts(&view.stages_view[0]), "150/150: 148 accepted, 2 token_gone");
        assert_eq!(counts(&view.stages_view[3]), "0/3791556");
    }
}
