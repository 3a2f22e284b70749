//! The requests so far.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hyper::header::HeaderMap;

use crate::keys::key_of;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// When its body had arrived.
    pub at: Instant,
    /// For example `GET`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// The query's names and decoded values, in order.
    pub query: Vec<(String, String)>,
    /// The body's names and values, if it is a form.
    pub form: Vec<(String, String)>,
    /// All headers; [`Self::key`], [`Self::version`] and [`Self::account`] read Stripe's.
    pub headers: HeaderMap,
    /// The status of the response, if there was one.
    pub status: Option<u16>,
}

impl Request {
    /// The values of a query parameter, as it is spelled: `types[]`.
    pub fn query(&self, name: &str) -> Vec<&str> {
        values(&self.query, name)
    }

    /// The values of a form parameter, as it is spelled: `enabled_events[]`.
    pub fn form(&self, name: &str) -> Vec<&str> {
        values(&self.form, name)
    }

    /// The request's key, valid or not.
    pub fn key(&self) -> Option<String> {
        key_of(&self.headers)
    }

    /// `Stripe-Version`.
    pub fn version(&self) -> Option<&str> {
        self.header("stripe-version")
    }

    /// `Stripe-Account`.
    pub fn account(&self) -> Option<&str> {
        self.header("stripe-account")
    }

    /// The value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn values<'p>(pairs: &'p [(String, String)], name: &str) -> Vec<&'p str> {
    pairs.iter().filter(|(given, _)| given == name).map(|(_, value)| &**value).collect()
}

/// The number of requests kept, so that a long run does not grow.
const MAX_REQUESTS: usize = 10_000;

/// The latest requests, in order.
#[derive(Default)]
pub(crate) struct Log {
    requests: VecDeque<Request>,
    /// The number of requests forgotten.
    forgotten: usize,
}

impl Log {
    pub(crate) fn requests(&self) -> &VecDeque<Request> {
        &self.requests
    }

    /// Returns a number for [`Self::set_status`].
    pub(crate) fn add(&mut self, request: Request) -> usize {
        if self.requests.len() == MAX_REQUESTS {
            self.requests.pop_front();
            self.forgotten += 1;
        }
        self.requests.push_back(request);
        self.forgotten + self.requests.len() - 1
    }

    pub(crate) fn set_status(&mut self, number: usize, status: u16) {
        if let Some(request) = number.checked_sub(self.forgotten).and_then(|index| self.requests.get_mut(index)) {
            request.status = Some(status);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.forgotten += self.requests.len();
        self.requests.clear();
    }

    /// The maximum number of requests within any period of this length.
    pub(crate) fn most_within(&self, time: Duration) -> usize {
        let mut within = VecDeque::new();
        let mut most = 0;
        for request in &self.requests {
            within.push_back(request.at);
            while within.front().is_some_and(|first| request.at.duration_since(*first) >= time) {
                within.pop_front();
            }
            most = most.max(within.len());
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(at: Instant, number: usize) -> Request {
        Request {
            at,
            method: "GET".to_owned(),
            path: format!("/v1/customers/cus_{number}"),
            query: Vec::new(),
            form: Vec::new(),
            headers: HeaderMap::new(),
            status: None,
        }
    }

    #[test]
    fn latest_requests_are_kept_with_their_status() {
        let mut log = Log::default();
        for number in 0..MAX_REQUESTS + 2 {
            assert_eq!(log.add(request(Instant::now(), number)), number);
        }
        assert_eq!((log.requests().len(), &*log.requests()[0].path), (MAX_REQUESTS, "/v1/customers/cus_2"));
        log.set_status(1, 500);
        log.set_status(2, 200);
        assert_eq!((log.requests()[0].status, log.requests()[1].status), (Some(200), None));
    }
    #[test]
    fn busiest_period_may_begin_at_any_time() {
        let start = Instant::now();
        let mut log = Log::default();
        for (number, milliseconds) in [0, 500, 900, 1400, 1499, 2500].into_iter().enumerate() {
            log.add(request(start + Duration::from_millis(milliseconds), number));
        }
        // From 500 to 1499 ms.
        assert_eq!(log.most_within(Duration::from_secs(1)), 4);
        log.clear();
        assert_eq!(log.most_within(Duration::from_secs(1)), 0);
    }
}
