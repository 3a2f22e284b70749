//! The name of the stack. Those of its queues begin with it, and SQS takes 80 characters.

use std::path::Path;

use serde::Deserialize;

/// So many characters it may have: `template.yaml` adds `-redelivery-` and a part of the stack's ID.
const LONGEST: usize = 59;

/// Where `sam deploy --guided` puts what it was told.
const FILE: &str = "samconfig.toml";

/// For `--stack`.
///
/// # Errors
/// A sentence, where no stack with a queue can have the name.
pub(super) fn name(text: &str) -> Result<String, String> {
    let is_name = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_name {
        return Err("a stack's name has the characters A-Z, a-z, 0-9 and -, and begins with a letter".to_owned());
    }
    match text.len() {
        ..=LONGEST => Ok(text.to_owned()),
        length => Err(too_long(length)),
    }
}

fn too_long(length: usize) -> String {
    format!(
        "the name has {length} characters, and a stack with the redelivery queue may have {LONGEST}: the names of its queues are longer, and SQS takes 80. Deploy it under a shorter name"
    )
}

/// What is to be said of the stack that this folder deploys, if it deploys one.
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
    fn a_name_leaves_room_for_those_of_the_queues() {
        assert!(name(&"s".repeat(59)).is_ok() && name("stripe-amplitude").is_ok());
        let error = name(&"s".repeat(60)).unwrap_err();
        assert!(error.contains("has 60 characters") && error.contains("may have 59") && error.contains("SQS takes 80"));
        for text in ["", "1a", "a_b", "a b", "ä"] {
            assert!(name(text).unwrap_err().contains("begins with a letter"), "{text}");
        }
        // What the template adds fits behind it.
        let template = include_str!("../../../../template.yaml");
        let names: Vec<_> = template.lines().filter_map(|line| line.split_once("- ${AWS::StackName}")).collect();
        let [(_, added)] = names[..] else { panic!("one queue has a name: {names:?}") };
        assert!(LONGEST + added.replace("${Id}", "01234567").len() <= 80, "{added}");
    }

    #[test]
    fn the_file_of_sam_is_looked_at_where_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(note(folder.path()), None);
        let (long, short) = ("s".repeat(60), "s".repeat(59));
        for (text, is_told) in [
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
                is_told,
                "{text}"
            );
        }
        // That of this repository.
        assert_eq!(note(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))), None);
    }
}
