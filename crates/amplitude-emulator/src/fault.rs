//! Faults that can be injected.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A fault that affects a request to one of Amplitude's endpoints.
///
/// In JSON it is an object whose `kind` is the variant in snake case, next to the fields: `{"kind": "hang",
/// "milliseconds": 3000}`.
///
/// `ingest` says whether valid events are ingested despite the fault. A client cannot know this after a 500 or a lost
/// response. It has no effect on exports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Sends another response.
    Answer(FaultyAnswer),
    /// Responds that the request's API key is invalid. For an upload this is a 400 that repeats the key, and nothing is
    /// ingested; for an export it is a 401.
    InvalidApiKey,
    /// Ingests and responds as usual, but late.
    Delay {
        /// The delay.
        milliseconds: u64,
    },
    /// Never responds, and finally closes the connection.
    Hang {
        /// The time until the connection is closed.
        milliseconds: u64,
        /// See [`Fault`].
        #[serde(default)]
        ingest: bool,
    },
    /// Closes the connection before the first byte of the response.
    Cut {
        /// See [`Fault`].
        #[serde(default)]
        ingest: bool,
    },
    /// Closes the connection half-way through the body of the response. The body is the usual one for exports and if
    /// the events are ingested, and otherwise one that reports no events.
    CutBody {
        /// See [`Fault`].
        #[serde(default)]
        ingest: bool,
    },
}

/// The response of [`Fault::Answer`]. Without `json` and `text`, the body is the one that Amplitude documents for the
/// status, or `{"code": …, "error": …}` in its style.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultyAnswer {
    /// From 200 to 599.
    pub status: u16,
    /// A JSON body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// Any other body; overrides `json`. An empty text gives an empty body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The default is `application/json`, or `text/html` with `text`, because load balancers respond with HTML.
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
    /// A response with this status and its usual body; nothing is ingested.
    pub fn answer(status: u16) -> Fault {
        Fault::Answer(FaultyAnswer { status, ..FaultyAnswer::default() })
    }

    /// Whether the request's events are ingested.
    pub(crate) fn ingests(&self) -> bool {
        match self {
            Fault::Answer(answer) => answer.ingest,
            Fault::InvalidApiKey => false,
            Fault::Delay { .. } => true,
            Fault::Hang { ingest, .. } | Fault::Cut { ingest } | Fault::CutBody { ingest } => *ingest,
        }
    }
}

/// A fault for a number of requests: the body of `POST /emulator/faults`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InjectedFault {
    /// The path of the affected requests; without it, uploads are affected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<FaultPath>,
    #[serde(default = "one")]
    pub(crate) requests: u32,
    pub(crate) fault: Fault,
}

/// A path other than the upload paths, with its own queue of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FaultPath {
    /// [`export::PATH`](crate::export::PATH)
    #[serde(rename = "/api/2/export")]
    Export,
}

fn one() -> u32 {
    1
}

/// Takes the fault for the next request, in the order of injection. Without a path, the request is an upload.
pub(crate) fn take_next(injected_faults: &mut VecDeque<InjectedFault>, path: Option<FaultPath>) -> Option<Fault> {
    injected_faults.retain(|injected| injected.requests > 0);
    let injected = injected_faults.iter_mut().find(|injected| injected.path == path)?;
    injected.requests -= 1;
    Some(injected.fault.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn faults_apply_in_order_of_injection() {
        let cut = Fault::Cut { ingest: false };
        let mut injected_faults = VecDeque::from([
            InjectedFault { path: None, requests: 0, fault: Fault::InvalidApiKey },
            InjectedFault { path: None, requests: 2, fault: cut.clone() },
            InjectedFault { path: Some(FaultPath::Export), requests: 1, fault: Fault::answer(500) },
            InjectedFault { path: None, requests: 1, fault: Fault::answer(503) },
        ]);
        assert_eq!(take_next(&mut injected_faults, None), Some(cut.clone()));
        assert_eq!(take_next(&mut injected_faults, None), Some(cut));
        assert_eq!(take_next(&mut injected_faults, None), Some(Fault::answer(503)));
        assert_eq!(take_next(&mut injected_faults, None), None);
        assert_eq!(take_next(&mut injected_faults, Some(FaultPath::Export)), Some(Fault::answer(500)));
        assert_eq!(take_next(&mut injected_faults, Some(FaultPath::Export)), None);
    }

    #[test]
    fn every_fault_has_a_json_form() {
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
    fn faults_can_apply_to_the_export_path() {
        let read = |path| serde_json::from_value::<InjectedFault>(json!({"path": path, "fault": {"kind": "cut"}}));
        assert_eq!(read(crate::export::PATH).unwrap().path, Some(FaultPath::Export));
        assert!(read("/api/3/export").is_err());
    }

    #[test]
    fn misspelt_field_is_rejected() {
        for fault in
            [json!({"kind": "cut", "ingested": true}), json!({"kind": "answer", "status": 500, "ingested": true})]
        {
            assert!(serde_json::from_value::<Fault>(fault).is_err());
        }
    }
}
