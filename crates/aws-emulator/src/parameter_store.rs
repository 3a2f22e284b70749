//! Parameter Store's rules. Source: AWS Systems Manager's API reference.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::AwsError;

/// The maximum length of a value in the standard tier, in characters.
const MAX_VALUE_CHARACTERS: usize = 4096;

/// The maximum and default number of parameters in a page.
const MAX_PAGE: usize = 10;

/// All parameters, by name.
#[derive(Debug, Default)]
pub struct ParameterStore(BTreeMap<String, Parameter>);

/// A parameter. A `SecureString` is stored like any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// `String`, `StringList` or `SecureString`.
    pub kind: String,
    /// The text.
    pub value: String,
    /// Increases by one with each change.
    pub version: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    name: String,
    value: String,
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default)]
    overwrite: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ByPath {
    path: String,
    #[serde(default)]
    recursive: bool,
    #[serde(default)]
    with_decryption: bool,
    #[serde(default)]
    max_results: Option<usize>,
    #[serde(default)]
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    name: String,
}

impl ParameterStore {
    /// The parameters below a path, by full name.
    pub fn below(&self, path: &str) -> BTreeMap<String, Parameter> {
        let folder = format!("{}/", path.trim_end_matches('/'));
        let below = self.0.iter().filter(|(name, _)| name.starts_with(&folder));
        below.map(|(name, parameter)| (name.clone(), parameter.clone())).collect()
    }

    /// Handles a call.
    ///
    /// # Errors
    /// If AWS would reject it.
    pub fn call(&mut self, operation: &str, input: Value) -> Result<Value, AwsError> {
        match operation {
            "PutParameter" => self.put(read(input)?),
            "GetParametersByPath" => self.get_by_path(&read(input)?),
            "DeleteParameter" => self.delete(&read(input)?),
            _ => Err(AwsError::new("UnknownOperationException", format!("{operation} is not emulated"))),
        }
    }

    fn put(&mut self, Put { name, value, r#type, overwrite }: Put) -> Result<Value, AwsError> {
        if value.is_empty() || value.chars().count() > MAX_VALUE_CHARACTERS {
            return Err(AwsError::invalid(format!("a value has 1 to {MAX_VALUE_CHARACTERS} characters")));
        }
        let old = self.0.get(&name);
        if old.is_some() && !overwrite {
            return Err(AwsError::new("ParameterAlreadyExists", "the parameter exists; Overwrite is not set"));
        }
        let Some(kind) = r#type.or_else(|| old.map(|old| old.kind.clone())) else {
            return Err(AwsError::invalid("a new parameter needs a type"));
        };
        let version = old.map_or(1, |old| old.version + 1);
        self.0.insert(name, Parameter { kind, value, version });
        Ok(json!({ "Version": version, "Tier": "Standard" }))
    }

    fn get_by_path(&self, by_path: &ByPath) -> Result<Value, AwsError> {
        let page_size = by_path.max_results.unwrap_or(MAX_PAGE);
        if !by_path.path.starts_with('/') || !(1..=MAX_PAGE).contains(&page_size) {
            return Err(AwsError::invalid("a path starts with a slash, and MaxResults is 1 to 10"));
        }
        let folder = format!("{}/", by_path.path.trim_end_matches('/'));
        let after = by_path.next_token.as_deref().unwrap_or("");
        let mut found = self.0.iter().filter(|(name, _)| {
            let rest = name.strip_prefix(&folder);
            name.as_str() > after && rest.is_some_and(|rest| by_path.recursive || !rest.contains('/'))
        });
        let page: Vec<_> = found.by_ref().take(page_size).collect();
        let next = found.next().and(page.last().map(|(name, _)| name));
        let shown = |(name, parameter): &(&String, &Parameter)| {
            let Parameter { kind, value, version } = parameter;
            let is_hidden = kind == "SecureString" && !by_path.with_decryption;
            let value = if is_hidden { "encrypted" } else { value };
            json!({ "Name": name, "Type": kind, "Value": value, "Version": version })
        };
        let parameters: Vec<_> = page.iter().map(shown).collect();
        Ok(json!({ "Parameters": parameters, "NextToken": next }))
    }

    fn delete(&mut self, Named { name }: &Named) -> Result<Value, AwsError> {
        match self.0.remove(name) {
            Some(_) => Ok(json!({})),
            None => Err(AwsError::new("ParameterNotFound", "there is no such parameter")),
        }
    }
}

fn read<T: for<'de> Deserialize<'de>>(input: Value) -> Result<T, AwsError> {
    serde_json::from_value(input).map_err(|error| AwsError::invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &mut ParameterStore, name: &str, value: &str) {
        store.call("PutParameter", json!({"Name": name, "Value": value, "Type": "SecureString"})).unwrap();
    }

    #[test]
    fn parameters_are_read_page_by_page() {
        let mut store = ParameterStore::default();
        for number in 0..13 {
            put(&mut store, &format!("/shop/a/p{number:02}"), "v");
        }
        put(&mut store, "/shop/ab", "v");
        let mut names = Vec::new();
        let mut token = Value::Null;
        loop {
            let input = json!({"Path": "/shop/a", "Recursive": true, "WithDecryption": true, "NextToken": token});
            let page = store.call("GetParametersByPath", input).unwrap();
            let parameters = page["Parameters"].as_array().unwrap().clone();
            assert!(parameters.len() <= MAX_PAGE);
            names.extend(parameters.iter().map(|parameter| parameter["Name"].as_str().unwrap().to_owned()));
            token = page["NextToken"].clone();
            if token.is_null() {
                break;
            }
        }
        assert_eq!((names.len(), names[12].as_str()), (13, "/shop/a/p12"));
    }

    #[test]
    fn recursion_and_decryption_are_optional() {
        let mut store = ParameterStore::default();
        put(&mut store, "/shop/a", "secret");
        put(&mut store, "/shop/b/c", "secret");
        let flat = store.call("GetParametersByPath", json!({"Path": "/shop/"})).unwrap();
        assert_eq!(flat["Parameters"].as_array().unwrap().len(), 1);
        assert_ne!(flat["Parameters"][0]["Value"], "secret");
    }

    #[test]
    fn errors_have_the_codes_of_parameter_store() {
        let mut store = ParameterStore::default();
        put(&mut store, "/a", "v");
        for (operation, input, code) in [
            ("PutParameter", json!({"Name": "/a", "Value": "w", "Type": "String"}), "ParameterAlreadyExists"),
            ("PutParameter", json!({"Name": "/b", "Value": "w"}), "ValidationException"),
            ("PutParameter", json!({"Name": "/b", "Value": "w".repeat(4097), "Type": "String"}), "ValidationException"),
            ("GetParametersByPath", json!({"Path": "a"}), "ValidationException"),
            ("DeleteParameter", json!({"Name": "/b"}), "ParameterNotFound"),
            ("LabelParameterVersion", json!({}), "UnknownOperationException"),
        ] {
            assert_eq!(store.call(operation, input.clone()).unwrap_err().code, code, "{operation} {input}");
        }
        let overwritten = json!({"Name": "/a", "Value": "w", "Overwrite": true});
        assert_eq!(store.call("PutParameter", overwritten).unwrap()["Version"], 2);
        assert_eq!(store.below("/")["/a"].kind, "SecureString");
    }
}
