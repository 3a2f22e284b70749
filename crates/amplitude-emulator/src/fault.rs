//! What can be ordered to go wrong.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Something that goes wrong with a request to one of Amplitude's endpoints.
///
/// In JSON it is an object whose `kind` is the variant in snake case, with the fields beside it:
/// `{"kind": "hang", "milliseconds": 3000}`.
///
/// Where there is an `ingest`, it says whether the events are taken in all the same, if they keep
/// the rules. This is what a client cannot know after a 500 or a lost answer. For an export it
/// means nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Answers something else.
    Answer(FaultyAnswer),
    /// Answers that the request's API key is invalid: to an upload 400, which repeats it, and
    /// nothing is ingested; to an export 401.
    InvalidApiKey,
    /// Takes the request in as usual, and answers as usual, but late.
    Delay {
        /// How late.
        milliseconds: u64,
    },
    /// Never answers, and closes the connection in the end.
    Hang {
        /// Until the connection is closed.
        milliseconds: u64,
        /// See [`Fault`].
        #[serde(default)]
        ingest: bool,
    },
    /// Closes the connection before the first byte of an answer.
    Cut {
        /// See [`Fault`].
        #[serde(default)]
        ingest: bool,
    },
    /// Closes the connection half-way through the body of the answer, which is the usual one if
    /// the events are ingested, and of an export, and else one that says that none were.
    CutBody {
        /// See [`Fault`].
        #[serde(default)]
        ingest: bool,
    },
}

/// What [`Fault::Answer`] answers. Without `json` and `text` the body is the one that Amplitude
/// documents for the status, or `{"code": …, "error": …}` in its style.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultyAnswer {
    /// From 200 to 599.
    pub status: u16,
    /// A JSON body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// Any other body; wins over `json`. Empty for an empty body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Else `application/json`, or `text/html` with `text`, because that is what load balancers
    /// answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The `location` header, for a redirect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// See [`Fault`].
    #[serde(default)]
    pub ingest: bool,
}

impl Fault {
    /// An answer with this status and its usual body; nothing is ingested.
    pub fn answer(status: u16) -> Fault {
        Fault::Answer(FaultyAnswer { status, ..FaultyAnswer::default() })
    }

    /// Whether the events of the request are taken in.
    pub(crate) fn ingests(&self) -> bool {
        match self {
            Fault::Answer(answer) => answer.ingest,
            Fault::InvalidApiKey => false,
            Fault::Delay { .. } => true,
            Fault::Hang { ingest, .. } | Fault::Cut { ingest } | Fault::CutBody { ingest } => *ingest,
        }
    }
}

/// A fault for a number of requests. This is what `POST /emulator/faults` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// Where else the requests go to; without it, they are uploads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<OtherPath>,
    #[serde(default = "one")]
    pub(crate) requests: u32,
    pub(crate) fault: Fault,
}

/// A path that takes no uploads, and has orders of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OtherPath {
    /// [`export::PATH`](crate::export::PATH)
    #[serde(rename = "/api/2/export")]
    Export,
}

fn one() -> u32 {
    1
}

/// Takes the fault for the next request from the orders, first ordered first. Without a path, the
/// request is an upload.
pub(crate) fn take_next(orders: &mut VecDeque<Order>, path: Option<OtherPath>) -> Option<Fault> {
    orders.retain(|order| order.requests > 0);
    let order = orders.iter_mut().find(|order| order.path == path)?;
    order.requests -= 1;
    Some(order.fault.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn faults_are_taken_in_the_order_in_which_they_were_ordered() {
        let cut = Fault::Cut { ingest: false };
        let mut orders = VecDeque::from([
            Order { path: None, requests: 0, fault: Fault::InvalidApiKey },
            Order { path: None, requests: 2, fault: cut.clone() },
            Order { path: Some(OtherPath::Export), requests: 1, fault: Fault::answer(500) },
            Order { path: None, requests: 1, fault: Fault::answer(503) },
        ]);
        assert_eq!(take_next(&mut orders, None), Some(cut.clone()));
        assert_eq!(take_next(&mut orders, None), Some(cut));
        assert_eq!(take_next(&mut orders, None), Some(Fault::answer(503)));
        assert_eq!(take_next(&mut orders, None), None);
        assert_eq!(take_next(&mut orders, Some(OtherPath::Export)), Some(Fault::answer(500)));
        assert_eq!(take_next(&mut orders, Some(OtherPath::Export)), None);
    }

    #[test]
    fn every_kind_has_its_json() {
        for (json, fault) in [
            (json!({"kind": "answer", "status": 503}), Fault::answer(503)),
            (json!({"kind": "invalid_api_key"}), Fault::InvalidApiKey),
            (json!({"kind": "delay", "milliseconds": 5}), Fault::Delay { milliseconds: 5 }),
            (json!({"kind": "hang", "milliseconds": 5, "ingest": true}), Fault::Hang { milliseconds: 5, ingest: true }),
            (json!({"kind": "cut"}), Fault::Cut { ingest: false }),
            (json!({"kind": "cut_body", "ingest": true}), Fault::CutBody { ingest: true }),
        ] {
            assert_eq!(serde_json::from_value::<Fault>(json).unwrap(), fault);
        }
    }

    #[test]
    fn the_other_path_of_an_order_is_that_of_the_export() {
        let order = |path| serde_json::from_value::<Order>(json!({"path": path, "fault": {"kind": "cut"}}));
        assert_eq!(order(crate::export::PATH).unwrap().path, Some(OtherPath::Export));
        assert!(order("/api/3/export").is_err());
    }

    #[test]
    fn a_misspelt_field_is_an_error() {
        for fault in
            [json!({"kind": "cut", "ingested": true}), json!({"kind": "answer", "status": 500, "ingested": true})]
        {
            assert!(serde_json::from_value::<Fault>(fault).is_err());
        }
    }
}
