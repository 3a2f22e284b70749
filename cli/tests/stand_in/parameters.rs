//! The parameters of a request, in its query or in its form: `limit=100&types[]=charge.failed&created[gte]=1721948600`.

use std::collections::BTreeMap;

use super::answer::Refusal;

/// Those that nobody has asked for yet. What is left over in the end is unknown.
pub struct Parameters {
    /// Names and values, as they came.
    left: Vec<(String, String)>,
}

impl Parameters {
    pub fn new(pairs: &[(String, String)]) -> Self {
        let mut parameters = Self { left: pairs.to_vec() };
        // Every request may have it. Nothing here can be expanded.
        parameters.list("expand");
        parameters
    }

    /// The value of a name. If it is given more than once, the last one counts.
    pub fn one(&mut self, name: &str) -> Option<String> {
        self.take(|given| given == name).pop().map(|(_, value)| value)
    }

    /// The values of `name[]`, or of `name[0]`, `name[1]` and so on.
    pub fn list(&mut self, name: &str) -> Vec<String> {
        let taken =
            self.take(|given| key_in(given, name).is_some_and(|key| key.bytes().all(|byte| byte.is_ascii_digit())));
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// The values of `name[key]`, by key.
    pub fn map(&mut self, name: &str) -> BTreeMap<String, String> {
        let taken = self.take(|given| key_in(given, name).is_some_and(|key| !key.is_empty()));
        taken.into_iter().map(|(given, value)| (key_in(&given, name).unwrap().to_owned(), value)).collect()
    }

    pub fn integer(&mut self, name: &str) -> Result<Option<i64>, Refusal> {
        let parse = |value: String| {
            let invalid = || Refusal::of(name, Some("parameter_invalid_integer"), format!("Invalid integer: {value}"));
            value.parse().map_err(|_| invalid())
        };
        self.one(name).map(parse).transpose()
    }

    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        let parse =
            |value: String| value.parse().map_err(|_| Refusal::of(name, None, format!("Invalid boolean: {value}")));
        self.one(name).map(parse).transpose()
    }

    /// How many objects a list shall have.
    pub fn limit(&mut self) -> Result<usize, Refusal> {
        let limit = self.integer("limit")?.unwrap_or(10);
        let bound = if limit < 1 { "greater than or equal to 1" } else { "less than or equal to 100" };
        let message = || format!("This value must be {bound} (it currently is '{limit}').");
        let valid = usize::try_from(limit).ok().filter(|limit| (1..=100).contains(limit));
        valid.ok_or_else(|| Refusal::of("limit", Some("parameter_invalid_integer"), message()))
    }

    /// Where a list shall go on.
    pub fn cursor(&mut self) -> Result<Cursor, Refusal> {
        match (self.one("starting_after"), self.one("ending_before")) {
            (None, None) => Ok(Cursor::Start),
            (Some(id), None) => Ok(Cursor::After(id)),
            (None, Some(id)) => Ok(Cursor::Before(id)),
            (Some(_), Some(_)) => {
                Err(Refusal::new(400, "You cannot parameterize both starting_after and ending_before."))
            }
        }
    }

    /// To be asked when all that is known was asked for.
    pub fn nothing_else(self) -> Result<(), Refusal> {
        self.left.first().map_or(Ok(()), |(name, _)| {
            Err(Refusal::of(name, Some("parameter_unknown"), format!("Received unknown parameter: {name}")))
        })
    }

    fn take(&mut self, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        self.left.extract_if(.., |(name, _)| is_wanted(name)).collect()
    }
}

/// A place in a list, by the ID of the object there.
pub enum Cursor {
    Start,
    After(String),
    Before(String),
}

fn key_in<'g>(given: &'g str, name: &str) -> Option<&'g str> {
    given.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')
}
