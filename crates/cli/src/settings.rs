//! `settings`: checks a project's settings, and explains them.

mod meaning;
mod paths;
mod types;
mod warnings;

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use stripe_amplitude::projects::configuration_error::Problem;
use stripe_amplitude::projects::parameters::parse_settings;
use stripe_amplitude::settings::Settings;
use stripe_amplitude::stripe::event::{Event, is_utf16};
use stripe_amplitude::stripe::signature::VerifiedBody;

use self::warnings::ADVANCED_TIER;
pub(crate) use self::warnings::warnings;
use crate::exit::Exit;
use crate::input;
use crate::terminal::{self, count, wrap};

/// Check the settings of a project
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Explain what a project's settings mean, and warn about likely mistakes
    ///
    /// The exit code is 0 if the settings are valid, with or without warnings.
    #[command(after_help = "Examples:
  cargo cli settings check settings.json
  echo '{\"refunds\": \"negative_revenue\"}' | cargo cli settings check -
  aws ssm get-parameter --name /stripe-amplitude/shop/settings --query Parameter.Value --output text |
    cargo cli settings check -")]
    Check {
        /// A file with the JSON of the parameter `settings`; - is standard input
        file: PathBuf,
    },
}

pub(crate) fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    let Command::Check { file } = arguments.command;
    let SettingsFile { settings, length } = read(&file)?;
    terminal::print(&report(&input::name(&file), &settings, length))?;
    Ok(Exit::Success)
}

/// Settings, and the length of their JSON in bytes.
pub(crate) struct SettingsFile {
    pub(crate) settings: Settings,
    pub(crate) length: usize,
}

/// Reads settings from a file.
///
/// # Errors
/// A sentence that names the file and says why it cannot be the parameter `settings`.
pub(crate) fn read(path: &Path) -> Result<SettingsFile, String> {
    parse(input::read(path)?).map_err(|error| format!("{}: {error}", input::name(path)))
}

fn parse(bytes: Vec<u8>) -> Result<SettingsFile, String> {
    if is_utf16(&bytes) {
        return Err("it is UTF-16; convert it to UTF-8".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    let settings = parse_settings(&text).map_err(|problem| match (what_else(&text), problem) {
        (Some(noun), _) => format!("it holds {noun}, not the settings of a project"),
        (None, Problem::Settings(error)) => error.to_string(),
        (None, problem) => format!("it {problem}"),
    })?;
    let length = text.len();
    if length > ADVANCED_TIER {
        return Err(format!(
            "it has {length} bytes, but a parameter holds at most {ADVANCED_TIER}; remove spaces, or replace many event types by families (charge.*)"
        ));
    }
    Ok(SettingsFile { settings, length })
}

/// Names a document from Stripe that is not settings.
fn what_else(text: &str) -> Option<&'static str> {
    match Event::parse(&VerifiedBody::trusted(text.to_owned().into())) {
        Ok(_) => Some("a Stripe event"),
        Err(error) => error.noun(),
    }
}

fn report(name: &str, settings: &Settings, length: usize) -> String {
    let warnings = warnings(settings, length);
    let mut report = match warnings.len() {
        0 => format!("{name} is valid.\n"),
        number => format!("{name} is valid, with {} at the end.\n", count(number, "warning")),
    };
    for meaning in meaning::meanings(settings) {
        report.push_str(&format!("\n{meaning}"));
    }
    for warning in warnings {
        report.push_str(&wrap("\nwarning: ", 9, &warning));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_size_is_limited_like_a_parameter() {
        let padded = |length: usize| format!("{{}}{}", " ".repeat(length - 2)).into_bytes();
        assert_eq!(parse(padded(ADVANCED_TIER)).ok().map(|file| file.length), Some(ADVANCED_TIER));
        assert!(parse(padded(ADVANCED_TIER + 1)).err().unwrap().contains("8193 bytes"));
        assert_eq!(parse(vec![0xff]).err().as_deref(), Some("it is not UTF-8"));
        assert!(parse(b"[]".to_vec()).err().unwrap().contains("not a JSON object"));
    }

    #[test]
    fn other_documents_are_named() {
        let event = r#"{"id": "evt_1", "object": "event", "type": "x", "created": 1, "data": {"object": {}}}"#;
        let utf_16 = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (text, words) in [
            (event.as_bytes().to_vec(), "holds a Stripe event"),
            (format!("[{event}]").into_bytes(), "a list of Stripe events"),
            (format!(r#"{{"detail-type": "x", "detail": {event}}}"#).into_bytes(), "an EventBridge event"),
            (br#"{"id": "ch_1", "object": "charge"}"#.to_vec(), "an object of Stripe's API"),
            (br#"{"id": "evt_1", "object": "v2.core.event", "type": "v2.x"}"#.to_vec(), "a thin event"),
            (b"{}\n{}".to_vec(), "several JSON objects"),
            (utf_16, "UTF-16"),
            (br#"{"object": 7}"#.to_vec(), "unknown setting \"object\""),
            (b"'{}'\n".to_vec(), "it is in quotation marks"),
            (b" \n".to_vec(), "it is empty"),
        ] {
            let error = parse(text).err().unwrap();
            assert!(error.contains(words), "{error}");
        }
        assert!(parse("\u{feff}{}".into()).is_ok());
    }

    #[test]
    fn no_line_is_too_wide() {
        let settings = Settings::parse(
            r#"{"events": {"add": ["charge.*"], "remove": ["charge.*", "x.y"]}, "refunds": "negative_revenue",
                "preferred_currency": {"code": "USD", "rates": {"EUR": "1.08"}}, "personal_data": "keep"}"#,
        );
        for settings in [Settings::default(), settings.unwrap()] {
            let report = report("settings.json", &settings, 5000);
            assert!(report.lines().all(|line| line.chars().count() <= 100), "{report}");
        }
    }
}
