//! What Amplitude has already, where its own rule against repeats does not reach.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use reqwest::Client as Http;
use secrecy::SecretString;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use stripe_amplitude::amplitude::{AmplitudeKey, Destination};

use super::export::{Export, is_ours};
use crate::clock::{HOUR, WEEK};
use crate::key::Key;

/// Amplitude drops what it has seen within so many seconds; an hour less, to be sure. Source: Amplitude's HTTP V2
/// documentation, "Event deduplication".
pub(crate) const WINDOW: i64 = WEEK - HOUR;

/// Where an export is wholly empty, although it goes back to the first of our events: who believes that sends all of them.
pub(crate) const NOTHING_AT_ALL: &str = "Amplitude's export has nothing at all of this project, not even events of others: if the project is new, `backfill` with --assume-missing brings what it lacks; if not, compare the keys, AMPLITUDE_EXPORT_URL, and `amplitude_region` in `settings`";

/// Whether Amplitude's rule against repeats may not reach an event that happened then: its live delivery may be longer ago
/// than that rule remembers. `now` and `created` are in Unix seconds.
pub(crate) fn is_beyond_the_window(created: i64, now: i64) -> bool {
    created < now - WINDOW
}

/// The secret keys that there are, by the API key that they go with.
pub(crate) struct SecretKeys(HashMap<AmplitudeKey, SecretString>);

impl SecretKeys {
    /// From the environment.
    pub(crate) fn given() -> Self {
        let given = |key| Some((key, Key::amplitude_secret(key).given()?));
        Self([AmplitudeKey::Main, AmplitudeKey::Test].into_iter().filter_map(given).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Of whoever sits at the terminal.
    ///
    /// # Errors
    /// A sentence, where nobody does.
    pub(crate) fn ask(&mut self, key: AmplitudeKey) -> Result<(), String> {
        self.0.insert(key, Key::amplitude_secret(key).required()?);
        Ok(())
    }

    /// The one that goes with this API key.
    ///
    /// # Errors
    /// A sentence that names the variable which would hold it.
    pub(crate) fn of(&self, key: AmplitudeKey) -> Result<SecretString, String> {
        let Key { variable, meaning } = Key::amplitude_secret(key);
        self.0.get(&key).cloned().ok_or_else(|| format!("{variable} is not set; it takes {meaning}"))
    }
}

/// All that matters of an event here.
#[derive(Deserialize)]
struct Identified<'e> {
    #[serde(rename = "$insert_id", borrow)]
    insert_id: Cow<'e, str>,
    #[serde(borrow)]
    event_type: Cow<'e, str>,
}

/// The insert IDs of Stripe's events that Amplitude has, sixteen bytes of each.
#[derive(Debug)]
pub(crate) struct Known(HashSet<[u8; 16]>);

impl Known {
    /// Those that were uploaded in this time, in Unix seconds.
    ///
    /// # Errors
    /// A sentence, where Amplitude does not give them.
    pub(crate) async fn load(
        http: &Http,
        destination: &Destination,
        secret_key: SecretString,
        uploaded: Range<i64>,
        reached: impl FnMut(i64),
    ) -> Result<Self, String> {
        let mut known = HashSet::new();
        let export = Export::new(http.clone(), destination, secret_key);
        let pick = |line: &str| {
            let Identified { insert_id, event_type } = serde_json::from_str(line).ok()?;
            is_ours(&event_type).then(|| digest(&insert_id))
        };
        let keep = |digest| {
            known.insert(digest);
        };
        let is_empty = export.each(uploaded, pick, reached, keep).await?;
        if is_empty {
            return Err(NOTHING_AT_ALL.to_owned());
        }
        Ok(Self(known))
    }

    pub(crate) fn contains(&self, insert_id: &str) -> bool {
        self.0.contains(&digest(insert_id))
    }
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
    fn what_happened_within_the_week_is_amplitudes_to_drop() {
        let now = 1_800_000_000;
        for (age, beyond) in
            [(0, false), (6 * DAY, false), (7 * DAY - 2 * HOUR, false), (7 * DAY, true), (30 * DAY, true)]
        {
            assert_eq!(is_beyond_the_window(now - age, now), beyond, "{age}");
        }
    }

    #[test]
    fn an_insert_id_is_known_again() {
        let known = Known(HashSet::from([digest("evt_1")]));
        assert!(known.contains("evt_1") && !known.contains("evt_2"));
    }
}
