//! The parameters of a request, in its query or in its form: `limit=100&types[]=charge.failed&created[gte]=1721948600`.

use std::collections::BTreeMap;

use crate::answer::ApiError;

/// The parameters that have not been read yet. Those that remain in the end are unknown.
pub(crate) struct Parameters {
    /// Names and values as sent.
    left: Vec<(String, String)>,
    /// The paths of `expand[]`, which every request may have.
    pub expand: Vec<String>,
}

impl Parameters {
    pub(crate) fn new(pairs: &[(String, String)]) -> Self {
        let mut parameters = Self { left: pairs.to_vec(), expand: Vec::new() };
        parameters.expand = parameters.list("expand");
        parameters
    }

    /// The value of a name. If it is repeated, the last one counts.
    pub(crate) fn one(&mut self, name: &str) -> Option<String> {
        self.take(|given| given == name).pop().map(|(_, value)| value)
    }

    /// The values of `name[]`, or of `name[0]`, `name[1]` and so on.
    pub(crate) fn list(&mut self, name: &str) -> Vec<String> {
        let taken =
            self.take(|given| key_in(given, name).is_some_and(|key| key.bytes().all(|byte| byte.is_ascii_digit())));
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// The values of `name[key]`, by key.
    pub(crate) fn map(&mut self, name: &str) -> BTreeMap<String, String> {
        let taken = self.take(|given| key_in(given, name).is_some_and(|key| !key.is_empty()));
        let with_key = |(given, value): (String, String)| Some((key_in(&given, name)?.to_owned(), value));
        taken.into_iter().filter_map(with_key).collect()
    }

    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        let parse = |value: String| {
            let invalid = || ApiError::of(name, Some("parameter_invalid_integer"), format!("Invalid integer: {value}"));
            value.parse().map_err(|_| invalid())
        };
        self.one(name).map(parse).transpose()
    }

    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        let parse =
            |value: String| value.parse().map_err(|_| ApiError::of(name, None, format!("Invalid boolean: {value}")));
        self.one(name).map(parse).transpose()
    }

    /// The page size of a list.
    pub(crate) fn limit(&mut self) -> Result<usize, ApiError> {
        let limit = self.integer("limit")?.unwrap_or(10);
        let bound = if limit < 1 { "greater than or equal to 1" } else { "less than or equal to 100" };
        let message = || format!("This value must be {bound} (it currently is '{limit}').");
        let valid = usize::try_from(limit).ok().filter(|limit| (1..=100).contains(limit));
        valid.ok_or_else(|| ApiError::of("limit", Some("parameter_invalid_integer"), message()))
    }

    /// The position at which a list continues.
    pub(crate) fn cursor(&mut self) -> Result<Cursor, ApiError> {
        match (self.one("starting_after"), self.one("ending_before")) {
            (None, None) => Ok(Cursor::Start),
            (Some(id), None) => Ok(Cursor::After(id)),
            (None, Some(id)) => Ok(Cursor::Before(id)),
            (Some(_), Some(_)) => {
                Err(ApiError::new(400, "You cannot parameterize both starting_after and ending_before."))
            }
        }
    }

    /// The first and the last second of `created`, `created[gte]` and so on.
    pub(crate) fn created(&mut self) -> Result<(i64, i64), ApiError> {
        let mut at = |name: &str| self.integer(name);
        if let Some(second) = at("created")? {
            return Ok((second, second));
        }
        let first = [at("created[gte]")?, at("created[gt]")?.map(|second| second.saturating_add(1))];
        let last = [at("created[lte]")?, at("created[lt]")?.map(|second| second.saturating_sub(1))];
        let first = first.into_iter().flatten().max().unwrap_or(i64::MIN);
        Ok((first, last.into_iter().flatten().min().unwrap_or(i64::MAX)))
    }

    /// Rejects the remaining parameters. Call it after all known parameters were read.
    pub(crate) fn nothing_else(self) -> Result<(), ApiError> {
        self.left.first().map_or(Ok(()), |(name, _)| {
            Err(ApiError::of(name, Some("parameter_unknown"), format!("Received unknown parameter: {name}")))
        })
    }

    fn take(&mut self, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        self.left.extract_if(.., |(name, _)| is_wanted(name)).collect()
    }
}

/// A position in a list, by the ID of the object there.
pub(crate) enum Cursor {
    Start,
    After(String),
    Before(String),
}

impl Cursor {
    /// The objects at this position of a list, and whether there are more in the direction of the cursor. `no_such`
    /// creates the error for a cursor that is not in the list, from the parameter's name.
    pub(crate) fn page<'l, T>(
        &self,
        list: &'l [T],
        limit: usize,
        id_of: impl Fn(&T) -> &str,
        no_such: impl Fn(&str, &str) -> ApiError,
    ) -> Result<(&'l [T], bool), ApiError> {
        let place =
            |id: &str, name: &str| list.iter().position(|object| id_of(object) == id).ok_or_else(|| no_such(id, name));
        let (from, to) = match self {
            Self::Start => (0, list.len().min(limit)),
            Self::After(id) => {
                let from = place(id, "starting_after")? + 1;
                (from, list.len().min(from.saturating_add(limit)))
            }
            Self::Before(id) => {
                let to = place(id, "ending_before")?;
                (to.saturating_sub(limit), to)
            }
        };
        let has_more = if matches!(self, Self::Before(_)) { from > 0 } else { to < list.len() };
        Ok((list.get(from..to).unwrap_or_default(), has_more))
    }
}

fn key_in<'g>(given: &'g str, name: &str) -> Option<&'g str> {
    given.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')
}
