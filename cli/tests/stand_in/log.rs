//! What was asked.

use std::time::{Duration, Instant};

use hyper::header::HeaderMap;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    pub at: Instant,
    pub method: String,
    pub path: String,
    /// Names and values, decoded, in their order.
    pub query: Vec<(String, String)>,
    /// The same of the body, if it is a form.
    pub form: Vec<(String, String)>,
    pub headers: HeaderMap,
    /// What was answered, if anything was.
    pub status: Option<u16>,
}

impl Request {
    /// The values of a parameter of the query, as it is spelled: `types[]`.
    pub fn query(&self, name: &str) -> Vec<&str> {
        values(&self.query, name)
    }

    /// The values of a parameter of the form, as it is spelled: `enabled_events[]`.
    pub fn form(&self, name: &str) -> Vec<&str> {
        values(&self.form, name)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn values<'p>(pairs: &'p [(String, String)], name: &str) -> Vec<&'p str> {
    pairs.iter().filter(|(given, _)| given == name).map(|(_, value)| &**value).collect()
}

/// All requests, in their order.
#[derive(Default)]
pub struct Log {
    requests: Vec<Request>,
    /// How many were forgotten.
    forgotten: usize,
}

impl Log {
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Gives a number by which its answer can be told.
    pub fn add(&mut self, request: Request) -> usize {
        self.requests.push(request);
        self.forgotten + self.requests.len() - 1
    }

    pub fn set_status(&mut self, number: usize, status: u16) {
        if let Some(request) = number.checked_sub(self.forgotten).and_then(|index| self.requests.get_mut(index)) {
            request.status = Some(status);
        }
    }

    pub fn clear(&mut self) {
        self.forgotten += self.requests.len();
        self.requests.clear();
    }

    /// The most requests in any time as long as this.
    pub fn most_within(&self, time: Duration) -> usize {
        let times: Vec<_> = self.requests.iter().map(|request| request.at).collect();
        let mut first = 0;
        let mut most = 0;
        for (index, at) in times.iter().enumerate() {
            while at.duration_since(times[first]) >= time {
                first += 1;
            }
            most = most.max(index + 1 - first);
        }
        most
    }
}
