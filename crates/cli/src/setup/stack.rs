//! The name of the stack. The names of its queues begin with it, and SQS accepts 80 characters.

use std::path::Path;

use serde::Deserialize;

/// In characters: `template.yaml` adds `-redelivery-` and a part of the stack's ID.
const LONGEST: usize = 59;

/// Where `sam deploy --guided` saves its answers.
const FILE: &str = "samconfig.toml";

/// For `--stack`.
///
/// # Errors
/// A sentence, if no stack with a queue can have the name.
pub(super) fn name(text: &str) -> Result<String, String> {
    let is_name = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_name {
        return Err("expected a stack name: a letter, followed by letters, digits and hyphens".to_owned());
    }
    match text.len() {
        ..=LONGEST => Ok(text.to_owned()),
        length => Err(too_long(length)),
    }
}

fn too_long(length: usize) -> String {
    format!(
        "the name has {length} characters, but a stack with the redelivery queue may have at most {LONGEST}: the names of its queues are longer, and SQS accepts 80. Choose a shorter name"
    )
}

/// A warning about the stack that this folder deploys, if its name is too long.
pub(super) fn note(folder: &Path) -> Option<String> {
    let config: Config = toml::from_str(&std::fs::read_to_string(folder.join(FILE)).ok()?).ok()?;
    let names = [config.default.deploy, config.default.global].into_iter().filter_map(|of| of.parameters.stack_name);
    let length = names.into_iter().next()?.chars().count();
    (length > LONGEST).then(|| format!("stack_name in {FILE}: {}", too_long(length)))
}

#[derive(Deserialize)]
struct Config {
    default: Commands,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Commands {
    global: Command,
    deploy: Command,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Command {
    parameters: Parameters,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Parameters {
    stack_name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_leaves_room_for_queue_names() {
        assert!(name(&"s".repeat(59)).is_ok() && name("stripe-amplitude").is_ok());
        let error = name(&"s".repeat(60)).unwrap_err();
        assert!(error.contains("has 60 characters") && error.contains("at most 59"), "{error}");
        for text in ["", "1a", "a_b", "a b", "ä"] {
            assert!(name(text).unwrap_err().contains("a letter, followed by"), "{text}");
        }
        // The suffix that the template adds fits.
        let template = include_str!("../../../../template.yaml");
        let names: Vec<_> = template.lines().filter_map(|line| line.split_once("- ${AWS::StackName}")).collect();
        let [(_, added)] = names[..] else { panic!("one queue has a name: {names:?}") };
        assert!(LONGEST + added.replace("${Id}", "01234567").len() <= 80, "{added}");
    }

    #[test]
    fn samconfig_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(note(folder.path()), None);
        let (long, short) = ("s".repeat(60), "s".repeat(59));
        for (text, is_too_long) in [
            (format!("[default.global.parameters]\nstack_name = \"{long}\"\n"), true),
            (format!("version = 0.1\n[default.deploy.parameters]\nstack_name = \"{long}\"\n"), true),
            (
                format!(
                    "[default.deploy.parameters]\nstack_name = \"{short}\"\n[default.global.parameters]\nstack_name = \"{long}\"\n"
                ),
                false,
            ),
            ("[default.build.parameters]\ncached = true\n".to_owned(), false),
            ("nonsense".to_owned(), false),
        ] {
            std::fs::write(folder.path().join(FILE), &text).unwrap();
            assert_eq!(
                note(folder.path())
                    .is_some_and(|note| note.starts_with("stack_name in samconfig.toml: the name has 60")),
                is_too_long,
                "{text}"
            );
        }
        // That of this repository.
        assert_eq!(note(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))), None);
    }
}
