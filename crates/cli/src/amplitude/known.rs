//! Looks up whether Amplitude has an event that is too old for its own deduplication.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use reqwest::Client as Http;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use stripe_amplitude::amplitude::{AmplitudeKey, Destination};

use super::export::Export;
use super::line::Exported;
use crate::clock::{self, HOUR, WEEK};
use crate::key::Key;

/// Amplitude drops repeats within this many seconds, less an hour for safety. Source: Amplitude's HTTP V2 documentation,
/// "Event deduplication".
pub(crate) const WINDOW: i64 = WEEK - HOUR;

/// If an export is completely empty, although it covers our first event. Trusting it would send every event again.
pub(crate) const NOTHING_AT_ALL: &str = "Amplitude's export of this project is completely empty: if the project is new, run `backfill` with --assume-missing; otherwise check the keys, AMPLITUDE_EXPORT_URL, and `amplitude_region` in `settings`";

/// Whether an event may be too old for Amplitude's deduplication, because its live delivery may be older than the window.
/// `now` and `created` are in Unix seconds.
pub(crate) fn is_beyond_the_window(created: i64, now: i64) -> bool {
    created < now - WINDOW
}

/// The secret keys that are set, by the API key that they belong to.
pub(crate) struct SecretKeys(HashMap<AmplitudeKey, SecretString>);

impl SecretKeys {
    /// From the environment.
    ///
    /// # Errors
    /// A sentence, where one is something else.
    pub(crate) fn given() -> Result<Self, String> {
        let mut keys = HashMap::new();
        for key in [AmplitudeKey::Main, AmplitudeKey::Test] {
            keys.extend(Key::amplitude_secret(key).given_and_checked()?.map(|secret| (key, secret)));
        }
        Ok(Self(keys))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Prompts at the terminal.
    ///
    /// # Errors
    /// A sentence, if there is none.
    pub(crate) fn prompt(&mut self, key: AmplitudeKey) -> Result<(), String> {
        self.0.insert(key, Key::amplitude_secret(key).required()?);
        Ok(())
    }

    /// The one that belongs to this API key.
    ///
    /// # Errors
    /// A sentence that names the missing variable.
    pub(crate) fn of(&self, key: AmplitudeKey) -> Result<SecretString, String> {
        self.0.get(&key).cloned().ok_or_else(|| Key::amplitude_secret(key).missing())
    }
}

/// The insert IDs of Stripe's events that Amplitude has, as hashes of sixteen bytes.
#[derive(Debug, Default)]
pub(crate) struct Known {
    insert_ids: HashSet<[u8; 16]>,
    /// The beginning of the last hour of upload, in Unix seconds, with an unreadable line, which may be any event.
    unreadable: Option<i64>,
}

/// Whether Amplitude has an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    There,
    /// It does not, or it drops repeats.
    Absent,
    /// It is unclear, with the reason. Sending the event could count it twice.
    Unknown(String),
}

impl Known {
    /// Loads those that were uploaded in this time range, in Unix seconds.
    ///
    /// # Errors
    /// A sentence, if Amplitude does not export them.
    pub(crate) async fn load(
        http: &Http,
        destination: &Destination,
        secret_key: SecretString,
        uploaded: Range<i64>,
        reached: impl FnMut(i64),
    ) -> Result<Self, String> {
        let mut insert_ids = HashSet::new();
        let export = Export::new(http.clone(), destination, secret_key)?;
        let pick = |event: Exported<'_>| Some(event.insert_ids.iter().map(|id| digest(id)).collect::<Vec<_>>());
        let exports = export.each(uploaded, pick, reached, |digests| insert_ids.extend(digests)).await?;
        if exports.is_empty {
            return Err(NOTHING_AT_ALL.to_owned());
        }
        Ok(Self { insert_ids, unreadable: exports.unreadable.last().copied() })
    }

    /// Whether Amplitude has an event with this insert ID, created at this time, in Unix seconds.
    pub(crate) fn look_up(&self, insert_id: &str, created: i64) -> Presence {
        if self.insert_ids.contains(&digest(insert_id)) {
            return Presence::There;
        }
        match self.unreadable {
            Some(hour) if may_be_in(hour, created) => Presence::Unknown(format!(
                "Amplitude's export has an unreadable line in the hour from {}. It may be this event, which could count twice if sent. Check that hour in Amplitude, then use --since to send events after it, or --assume-missing to send all",
                clock::show(hour)
            )),
            _ => Presence::Absent,
        }
    }
}

/// Whether an event may have been uploaded in this hour: not before it was created.
pub(crate) fn may_be_in(hour: i64, created: i64) -> bool {
    created < hour + HOUR
}

fn digest(insert_id: &str) -> [u8; 16] {
    let mut digest = [0; 16];
    digest.iter_mut().zip(Sha256::digest(insert_id)).for_each(|(byte, whole)| *byte = whole);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::DAY;

    #[test]
    fn window_is_a_week_less_an_hour() {
        let now = 1_800_000_000;
        for (age, beyond) in
            [(0, false), (6 * DAY, false), (7 * DAY - 2 * HOUR, false), (7 * DAY, true), (30 * DAY, true)]
        {
            assert_eq!(is_beyond_the_window(now - age, now), beyond, "{age}");
        }
    }

    #[test]
    fn known_insert_id_is_found() {
        let known = Known { insert_ids: HashSet::from([digest("evt_1")]), unreadable: None };
        assert_eq!(known.look_up("evt_1", 0), Presence::There);
        assert_eq!(known.look_up("evt_2", 0), Presence::Absent);
    }

    #[test]
    fn event_that_an_unreadable_line_may_hold_is_unknown() {
        let hour = 1_795_564_800;
        let known = Known { insert_ids: HashSet::from([digest("evt_1")]), unreadable: Some(hour) };
        assert_eq!(known.look_up("evt_1", hour - DAY), Presence::There);
        for created in [hour - DAY, hour, hour + HOUR - 1] {
            let Presence::Unknown(why) = known.look_up("evt_2", created) else { panic!("{created}") };
            assert!(why.contains("the hour from 2026-11-25 00:00:00."), "{why}");
        }
        // The line was uploaded before this event was created.
        assert_eq!(known.look_up("evt_2", hour + HOUR), Presence::Absent);
    }
}
