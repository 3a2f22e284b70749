//! The handling of a request: authorization and dispatch.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use crate::answer::{Answer, ApiError};
use crate::delivery::FailedDeliveries;
use crate::endpoints::Endpoints;
use crate::events::Events;
use crate::faults::{Faults, GLOBAL_RATE};
use crate::keys::{Keys, Permission, masked};
use crate::log::{Log, Request};
use crate::objects::{Objects, Read, Reader};
use crate::parameters::Parameters;
use crate::versions::ApiVersion;
use crate::{ACCOUNT, API_VERSION, random, unix_now};

/// The emulator's state.
#[derive(Default)]
pub(crate) struct State {
    pub keys: Keys,
    /// The connected accounts.
    pub accounts: HashSet<String>,
    pub clock: Clock,
    /// The API version of the account, if it differs from [`API_VERSION`].
    pub default_version: Option<String>,
    pub events: Events,
    pub failed_deliveries: FailedDeliveries,
    pub endpoints: Endpoints,
    pub objects: Objects,
    pub faults: Faults,
    pub log: Log,
    /// Requests and responses by API key and idempotency key.
    answered: HashMap<(String, String), (IdempotencyKey, Answer)>,
}

type IdempotencyKey = (String, Vec<(String, String)>, Vec<(String, String)>);

impl State {
    pub(crate) fn answer(&mut self, request: &Request) -> Answer {
        if !self.faults.allows(request.at) {
            return self.too_many_requests(request);
        }
        let answer = self.perform(request).into();
        self.finish(answer, request)
    }

    pub(crate) fn too_many_requests(&self, request: &Request) -> Answer {
        let reason = self.faults.rate_limited_reason.as_deref().unwrap_or(GLOBAL_RATE);
        self.finish(ApiError::too_many_requests(reason).into_answer(), request)
    }

    /// Adds the headers of every Stripe response.
    pub(crate) fn finish(&self, mut answer: Answer, request: &Request) -> Answer {
        answer.headers.push(("date", self.clock.http_date()));
        answer.headers.push(("request-id", format!("req_{}", random(14))));
        // An invalid version is not in the response.
        let version = self.version_of(request).map(|version| version.as_str().to_owned());
        answer.headers.extend(version.ok().map(|version| ("stripe-version", version)));
        answer
    }

    /// The version of the response: that of the header, else that of the account.
    /// /// Source: docs.stripe.com/api/versioning.
    fn version_of(&self, request: &Request) -> Result<ApiVersion, ApiError> {
        let version = request.version().or(self.default_version.as_deref()).unwrap_or(API_VERSION);
        ApiVersion::parse(version).ok_or_else(|| ApiError::new(400, format!("Invalid Stripe API version: {version}")))
    }

    fn perform(&mut self, request: &Request) -> Result<Answer, ApiError> {
        let operation = Operation::of(&request.method, &request.path).ok_or_else(|| {
            let message = format!("Unrecognized request URL ({}: {}).", request.method, request.path);
            ApiError::new(404, message)
        })?;
        let key = self.keys.of(&request.headers)?;
        let version = self.version_of(request)?;
        self.keys.require(&key, operation.permission())?;
        let account = self.connected_account(request, &key)?;
        if account.is_some() && operation.concerns_endpoints() {
            return Err(ApiError::new(501, "The emulator keeps no endpoints of connected accounts."));
        }
        match request.header("idempotency-key") {
            Some(once) if request.method == "POST" => self.perform_once(request, operation, &key, &version, once),
            _ => self.perform_for(request, operation, &key, &version, account),
        }
    }

    fn connected_account<'r>(&self, request: &'r Request, key: &str) -> Result<Option<&'r str>, ApiError> {
        let account = request.header("stripe-account").filter(|account| *account != ACCOUNT);
        match account {
            Some(account) if !self.accounts.contains(account) => Err(ApiError::no_access(&masked(key), account)),
            _ => Ok(account),
        }
    }

    /// A rejected request was not executed, and may be retried with the same idempotency key.
    fn perform_once(
        &mut self,
        request: &Request,
        operation: Operation<'_>,
        key: &str,
        version: &ApiVersion,
        once: &str,
    ) -> Result<Answer, ApiError> {
        let keys = (key.to_owned(), once.to_owned());
        let asked = (request.path.clone(), request.query.clone(), request.form.clone());
        if let Some((before, answer)) = self.answered.get(&keys) {
            if *before != asked {
                return Err(ApiError::other_parameters(once));
            }
            let mut answer = answer.clone();
            answer.headers.push(("idempotent-replayed", "true".to_owned()));
            return Ok(answer);
        }
        let mut answer = self.perform_for(request, operation, key, version, None)?;
        answer.headers.push(("idempotency-key", once.to_owned()));
        self.answered.insert(keys, (asked, answer.clone()));
        Ok(answer)
    }

    fn perform_for(
        &mut self,
        request: &Request,
        operation: Operation<'_>,
        key: &str,
        version: &ApiVersion,
        account: Option<&str>,
    ) -> Result<Answer, ApiError> {
        let parameters = Parameters::new(&[&*request.query, &*request.form].concat());
        let now = self.clock.now();
        match operation {
            Operation::RetrieveAccount => {
                parameters.nothing_else()?;
                Ok(describe(account.unwrap_or(ACCOUNT)))
            }
            Operation::ListEvents => self.events.list(parameters, account, now),
            Operation::RetrieveEvent(id) => {
                parameters.nothing_else()?;
                self.events.retrieve(id, account, now)
            }
            Operation::ListEndpoints => self.endpoints.list(parameters),
            Operation::RetrieveEndpoint(id) => self.endpoints.retrieve(id, parameters),
            Operation::CreateEndpoint => self.endpoints.create(parameters, is_live(key), now),
            Operation::UpdateEndpoint(id) => self.endpoints.update(id, parameters),
            Operation::DeleteEndpoint(id) => self.endpoints.delete(id, parameters),
            Operation::Read(read) => {
                let reader = Reader { keys: &self.keys, key, account, livemode: is_live(key), version };
                self.objects.read(read, parameters, &reader)
            }
        }
    }
}

/// The requested operation.
enum Operation<'r> {
    RetrieveAccount,
    ListEvents,
    RetrieveEvent(&'r str),
    ListEndpoints,
    RetrieveEndpoint(&'r str),
    CreateEndpoint,
    UpdateEndpoint(&'r str),
    DeleteEndpoint(&'r str),
    Read(Read<'r>),
}

impl<'r> Operation<'r> {
    fn of(method: &str, path: &'r str) -> Option<Self> {
        let segments: Vec<_> = path.strip_prefix("/v1/")?.split('/').collect();
        Some(match (method, &*segments) {
            ("GET", ["account"]) => Self::RetrieveAccount,
            ("GET", ["events"]) => Self::ListEvents,
            ("GET", ["events", id]) => Self::RetrieveEvent(id),
            ("GET", ["webhook_endpoints"]) => Self::ListEndpoints,
            ("GET", ["webhook_endpoints", id]) => Self::RetrieveEndpoint(id),
            ("POST", ["webhook_endpoints"]) => Self::CreateEndpoint,
            ("POST", ["webhook_endpoints", id]) => Self::UpdateEndpoint(id),
            ("DELETE", ["webhook_endpoints", id]) => Self::DeleteEndpoint(id),
            ("GET", segments) => Self::Read(Read::of(segments)?),
            _ => return None,
        })
    }

    fn permission(&self) -> Permission {
        match self {
            Self::RetrieveAccount => Permission::AccountRead,
            Self::ListEvents | Self::RetrieveEvent(_) => Permission::EventsRead,
            Self::ListEndpoints | Self::RetrieveEndpoint(_) => Permission::WebhookEndpointsRead,
            Self::CreateEndpoint | Self::UpdateEndpoint(_) | Self::DeleteEndpoint(_) => {
                Permission::WebhookEndpointsWrite
            }
            Self::Read(read) => read.kind().permission,
        }
    }

    fn concerns_endpoints(&self) -> bool {
        matches!(self.permission(), Permission::WebhookEndpointsRead | Permission::WebhookEndpointsWrite)
    }
}

/// Whether a key is a live key. Source: docs.stripe.com/keys.
fn is_live(key: &str) -> bool {
    key.contains("_live_")
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

/// In Unix seconds; the real time unless it was set.
#[derive(Default)]
pub(crate) struct Clock {
    pub now: Option<i64>,
    pub date: Option<i64>,
}

impl Clock {
    pub(crate) fn now(&self) -> i64 {
        self.now.unwrap_or_else(unix_now)
    }

    fn http_date(&self) -> String {
        // HTTP has no dates before 1970 or after 9999.
        let seconds = self.date.unwrap_or_else(|| self.now()).clamp(0, 253_402_300_799);
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs()))
    }
}
