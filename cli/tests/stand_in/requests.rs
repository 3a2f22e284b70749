//! What is done at a request: who may ask, and who answers.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;
use stripe_amplitude::stripe::event_types;

use super::answer::{Answer, Refusal};
use super::delivery::Owed;
use super::endpoints::Endpoints;
use super::events::Events;
use super::faults::Faults;
use super::keys::{Keys, Permission, masked};
use super::log::{Log, Request};
use super::objects::{self, Objects};
use super::parameters::Parameters;
use super::{ACCOUNT, random, unix_now};

/// All that the stand-in knows.
#[derive(Default)]
pub struct State {
    pub keys: Keys,
    /// The connected ones.
    pub accounts: HashSet<String>,
    pub clock: Clock,
    pub events: Events,
    pub objects: Objects,
    pub owed: Owed,
    pub endpoints: Endpoints,
    pub faults: Faults,
    pub log: Log,
    /// By the API key and the idempotency key: what was asked, and what was answered.
    answered: HashMap<(String, String), (Asked, Answer)>,
}

type Asked = (String, Vec<(String, String)>, Vec<(String, String)>);

impl State {
    pub fn answer(&mut self, request: &Request) -> Answer {
        if !self.faults.let_through(request.at) {
            return self.finish(Refusal::too_many_requests().into_answer(), request);
        }
        let answer = self.perform(request).into();
        self.finish(answer, request)
    }

    /// An answer with what every one of Stripe's has.
    pub fn finish(&self, mut answer: Answer, request: &Request) -> Answer {
        let date = UNIX_EPOCH + Duration::from_secs(self.clock.date().try_into().unwrap());
        let version = request.header("stripe-version").unwrap_or(event_types::API_VERSION);
        answer.headers.push(("date", httpdate::fmt_http_date(date)));
        answer.headers.push(("request-id", format!("req_{}", random(14))));
        answer.headers.push(("stripe-version", version.to_owned()));
        answer
    }

    fn perform(&mut self, request: &Request) -> Result<Answer, Refusal> {
        let segments: Vec<_> = request.path.split('/').skip(1).collect();
        if request.method == "GET"
            && let Some(name) = objects::permission(&request.path)
        {
            self.keys.check(&request.headers, Permission::Object(name))?;
            return self.objects.get(request);
        }
        let needed = match (&*request.method, &*segments) {
            ("GET", ["v1", "account"]) => Permission::AccountRead,
            ("GET", ["v1", "events"] | ["v1", "events", _]) => Permission::EventsRead,
            ("GET", ["v1", "webhook_endpoints"] | ["v1", "webhook_endpoints", _]) => Permission::WebhookEndpointsRead,
            ("POST", ["v1", "webhook_endpoints"] | ["v1", "webhook_endpoints", _])
            | ("DELETE", ["v1", "webhook_endpoints", _]) => Permission::WebhookEndpointsWrite,
            (method, _) => {
                let message = format!("Unrecognized request URL ({method}: {}).", request.path);
                return Err(Refusal::new(404, message));
            }
        };
        let key = self.keys.check(&request.headers, needed)?;
        let account = self.connected_account(request, &key)?;
        if account.is_some() && segments[1] == "webhook_endpoints" {
            return Err(Refusal::new(501, "The stand-in keeps no endpoints of connected accounts."));
        }
        match request.header("idempotency-key") {
            Some(once) if request.method == "POST" => self.perform_once(request, &segments, &key, once),
            _ => self.perform_for(request, &segments, &key, account),
        }
    }

    fn connected_account<'r>(&self, request: &'r Request, key: &str) -> Result<Option<&'r str>, Refusal> {
        let account = request.header("stripe-account").filter(|account| *account != ACCOUNT);
        match account {
            Some(account) if !self.accounts.contains(account) => Err(Refusal::no_access(&masked(key), account)),
            _ => Ok(account),
        }
    }

    /// What is refused has not been done, and may be asked again with the same idempotency key.
    fn perform_once(&mut self, request: &Request, segments: &[&str], key: &str, once: &str) -> Result<Answer, Refusal> {
        let keys = (key.to_owned(), once.to_owned());
        let asked = (request.path.clone(), request.query.clone(), request.form.clone());
        if let Some((before, answer)) = self.answered.get(&keys) {
            if *before != asked {
                return Err(Refusal::other_parameters(once));
            }
            let mut answer = answer.clone();
            answer.headers.push(("idempotent-replayed", "true".to_owned()));
            return Ok(answer);
        }
        let mut answer = self.perform_for(request, segments, key, None)?;
        answer.headers.push(("idempotency-key", once.to_owned()));
        self.answered.insert(keys, (asked, answer.clone()));
        Ok(answer)
    }

    fn perform_for(
        &mut self,
        request: &Request,
        segments: &[&str],
        key: &str,
        account: Option<&str>,
    ) -> Result<Answer, Refusal> {
        let parameters = Parameters::new(&[&*request.query, &*request.form].concat());
        let now = self.clock.now();
        match (&*request.method, &segments[1..]) {
            ("GET", ["events"]) => self.events.list(parameters, account, now),
            ("GET", ["events", id]) => {
                parameters.nothing_else()?;
                self.events.retrieve(id, account, now)
            }
            ("GET", ["webhook_endpoints"]) => self.endpoints.list(parameters),
            ("GET", ["webhook_endpoints", id]) => self.endpoints.retrieve(id, parameters),
            ("POST", ["webhook_endpoints"]) => self.endpoints.create(parameters, key.contains("_live_"), now),
            ("POST", ["webhook_endpoints", id]) => self.endpoints.update(id, parameters),
            ("DELETE", ["webhook_endpoints", id]) => self.endpoints.delete(id, parameters),
            _ => {
                parameters.nothing_else()?;
                Ok(describe(account.unwrap_or(ACCOUNT)))
            }
        }
    }
}

fn describe(account: &str) -> Answer {
    Answer::json(&json!({
        "id": account,
        "object": "account",
        "business_profile": {"name": "Example", "url": "https://shop.example"},
        "charges_enabled": true,
        "country": "DE",
        "default_currency": "eur",
        "details_submitted": true,
        "email": "owner@shop.example",
        "payouts_enabled": true,
        "settings": {"dashboard": {"display_name": "Example", "timezone": "Europe/Berlin"}},
        "type": "standard",
    }))
}

/// In Unix seconds; the right time where nothing is set.
#[derive(Default)]
pub struct Clock {
    pub now: Option<i64>,
    pub date: Option<i64>,
}

impl Clock {
    pub fn now(&self) -> i64 {
        self.now.unwrap_or_else(unix_now)
    }

    fn date(&self) -> i64 {
        self.date.unwrap_or_else(|| self.now())
    }
}
