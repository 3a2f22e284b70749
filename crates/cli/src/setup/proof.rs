//! The proof that a URL leads to the function, and that the function has the secret, with patience: the function may not
//! know yet what has just been made.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, sleep};

use crate::endpoint::Endpoint;
use crate::proof::{Verdict, attempt};
use crate::terminal::{self, wrap};

/// On no list, and in no family that a project can name by mistake.
const EVENT_TYPE: &str = "stripe_amplitude.setup";

/// A process of the function remembers for a minute that there is no such project.
const PATIENCE: Duration = Duration::from_secs(90);

/// It reads the parameters of a project early once in 10 seconds at the most.
const PAUSE: Duration = Duration::from_secs(3);

/// Delivers the event until the function has understood it.
///
/// # Errors
/// A sentence that says what is in the way.
pub(super) async fn prove(url: &str, secret: &SecretString) -> Result<(), String> {
    let endpoint =
        Endpoint::new(url.to_owned(), secret.expose_secret().to_owned()).map_err(|error| error.to_string())?;
    let start = Instant::now();
    let mut told = None;
    loop {
        let verdict = attempt(&endpoint, EVENT_TYPE).await.verdict;
        match verdict {
            Verdict::Proven => return Ok(()),
            Verdict::Failed(why) => return Err(why),
            Verdict::NotYet(why) if start.elapsed() + PAUSE > PATIENCE => {
                return Err(format!(
                    "{why} (after {} s; the function uses what it has read of a project for up to five minutes, so it may be worth trying again)",
                    PATIENCE.as_secs()
                ));
            }
            Verdict::NotYet(why) => {
                if told.as_ref() != Some(&why) {
                    let text = format!("{why}. Trying again for up to {} s.", PATIENCE.as_secs());
                    terminal::tell(&wrap("Not yet: ", 9, &text));
                }
                told = Some(why);
                sleep(PAUSE).await;
            }
        }
    }
}
