//! Phones by number: the same seed and number give the same phone in every process, so that a test,
//! an import file and the simulator agree without talking.

use serde::Serialize;

use super::{Environment, NewPhone, Platform, dice::Dice};

/// Drawn apart from the fate of a token, which is drawn from its text.
const ABOUT_TOKENS: u64 = 0x746f_6b65_6e73;

/// A believable phone. Even numbers are iPhones, odd ones run Android.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntheticPhone {
    seed: u64,
    number: u64,
}

/// A line of a device file, as `bellwether device import` reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceLine {
    /// `user-000001` and so on; one phone each.
    pub user_id: String,
    /// The app that the phone has.
    pub app: String,
    /// iOS or Android.
    pub platform: Platform,
    /// Always production.
    pub environment: Environment,
    /// See [`SyntheticPhone::token`].
    pub token: String,
    /// Mostly PL.
    pub country: &'static str,
    /// The country's language.
    pub language: &'static str,
    /// The country's time zone.
    pub timezone: &'static str,
    /// One of three.
    pub app_version: &'static str,
}

impl SyntheticPhone {
    /// The phone with this number.
    pub fn new(seed: u64, number: u64) -> Self {
        Self { seed, number }
    }

    /// iOS or Android.
    pub fn platform(self) -> Platform {
        if self.number.is_multiple_of(2) { Platform::Ios } else { Platform::Android }
    }

    /// 64 hexadecimal digits for APNs; for FCM the two parts that its tokens have, 163 characters.
    pub fn token(self) -> String {
        const URL_SAFE: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut dice = Dice::new(self.seed, &[ABOUT_TOKENS, self.number]);
        match self.platform() {
            Platform::Ios => dice.text(b"0123456789abcdef", 64),
            Platform::Android => {
                format!("{}:APA91b{}", dice.text(URL_SAFE, 22), dice.text(URL_SAFE, 134))
            }
        }
    }

    /// The phone as the simulator registers it.
    pub fn phone(self) -> NewPhone {
        NewPhone::new(self.platform(), self.token())
    }

    /// The phone as a sender registers it.
    pub fn device(self, app: &str) -> DeviceLine {
        let (country, language, timezone) = match self.number % 20 {
            17 => ("DE", "de", "Europe/Berlin"),
            18 => ("UA", "uk", "Europe/Kyiv"),
            19 => ("GB", "en", "Europe/London"),
            _ => ("PL", "pl", "Europe/Warsaw"),
        };
        DeviceLine {
            user_id: format!("user-{:06}", self.number),
            app: app.to_owned(),
            platform: self.platform(),
            environment: Environment::Production,
            token: self.token(),
            country,
            language,
            timezone,
            app_version: ["5.1.0", "5.2.0", "5.2.1"]
                [usize::from(self.number % 7 > 2) + usize::from(self.number % 7 > 5)],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Platform, SyntheticPhone};

    #[test]
    fn tokens_are_distinct_repeatable_and_shaped_like_their_providers() {
        let tokens: HashSet<_> = (0..2_000).map(|n| SyntheticPhone::new(1, n).token()).collect();
        assert_eq!(tokens.len(), 2_000);
        let (ios, android) = (SyntheticPhone::new(1, 0), SyntheticPhone::new(1, 1));
        assert_eq!((ios.platform(), ios.token().len()), (Platform::Ios, 64));
        assert_eq!((android.platform(), android.token().len()), (Platform::Android, 163));
        assert_eq!(ios.token(), SyntheticPhone::new(1, 0).token());
        assert_ne!(ios.token(), SyntheticPhone::new(2, 0).token());
    }
}
