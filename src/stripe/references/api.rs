//! Stripe's API over HTTP.

use std::sync::Arc;

use http::StatusCode;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::source::{Access, ObjectSource, ReferenceError};
use crate::stripe::event_types::API_VERSION;
use crate::stripe::json::{self, Json, Object};
use crate::stripe::purchase::Found;
use crate::stripe::reference::Reference;
use crate::stripe::repair;

/// Stripe's own address.
pub const STRIPE_API_URL: &str = "https://api.stripe.com";

/// The most bytes that are read of a response with one object. Stripe's are far smaller.
const LARGEST_OBJECT: usize = 1024 * 1024;

/// The most bytes that are read of a response with a hundred lines and their products.
const LARGEST_LIST: usize = 2 * 1024 * 1024;

/// Reads objects from Stripe's API.
#[derive(Clone, Debug)]
pub struct StripeApi {
    http: reqwest::Client,
    url: String,
}

impl StripeApi {
    /// Uses another address than Stripe's, for tests and proxies.
    pub fn new(http: reqwest::Client, url: Option<String>) -> Self {
        let url = url.map_or_else(|| STRIPE_API_URL.to_owned(), |url| url.trim_end_matches('/').to_owned());
        Self { http, url }
    }

    /// The raw response: its status and its body.
    ///
    /// # Errors
    /// If there is no connection, or it broke.
    pub async fn get(
        &self,
        access: &Access<'_>,
        reference: &Reference,
    ) -> Result<(StatusCode, Vec<u8>), reqwest::Error> {
        let url = format!("{}{}", self.url, reference.path());
        let mut request = self.http.get(url).bearer_auth(access.key.expose_secret());
        // In later versions, a payment does not refer to its invoice.
        request = request.header("stripe-version", API_VERSION);
        if let Some(account) = &access.account {
            request = request.header("stripe-account", account);
        }
        let mut answer = request.send().await?;
        let largest = if reference.kind.object() == "list" { LARGEST_LIST } else { LARGEST_OBJECT };
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > largest {
                break;
            }
        }
        Ok((answer.status(), body))
    }
}

impl ObjectSource for StripeApi {
    async fn read(&self, access: &Access<'_>, reference: &Reference) -> Result<Found, ReferenceError> {
        let (status, body) = self.get(access, reference).await.map_err(|_| ReferenceError::Connection)?;
        classify_response(status.as_u16(), &body, reference, access)
    }
}

/// Classifies a response. Sources: Stripe's API reference, "Errors", and its documentation of restricted keys and of
/// deleted customers.
///
/// # Errors
/// If the object could not be read.
pub fn classify_response(
    status: u16,
    body: &[u8],
    reference: &Reference,
    access: &Access<'_>,
) -> Result<Found, ReferenceError> {
    match status {
        200 => found(body, reference).ok_or(ReferenceError::NotStripe(status)),
        429 => Err(ReferenceError::TooManyRequests),
        400 | 401 | 403 | 404 => {
            let error: Value = serde_json::from_slice(body).unwrap_or_default();
            let Some(error) = error.get("error").and_then(Value::as_object) else {
                return Err(ReferenceError::NotStripe(status));
            };
            match (status, error.get("code").and_then(Value::as_str)) {
                (401, _) => Err(ReferenceError::KeyRefused),
                (403, Some("account_invalid")) => Err(ReferenceError::AccountRefused),
                (403, _) => Err(ReferenceError::PermissionMissing(reference.kind)),
                (_, Some("resource_missing")) if access.is_live && reference.kind.must_exist() => {
                    Err(ReferenceError::NotFound(reference.kind))
                }
                (_, Some("resource_missing")) => Ok(Found::Nothing),
                _ => Err(ReferenceError::Status(status)),
            }
        }
        201..=399 => Err(ReferenceError::NotStripe(status)),
        status => Err(ReferenceError::Status(status)),
    }
}

/// Reads a 200 from Stripe. It must hold the requested object: a server with the same response for all requests would
/// put all events on one user.
fn found(body: &[u8], reference: &Reference) -> Option<Found> {
    let text = std::str::from_utf8(body).ok()?;
    let repaired;
    let json = match json::read(text) {
        Ok(json) => json,
        Err(_) => {
            repaired = repair::repaired(text)?;
            json::read(&repaired).ok()?
        }
    };
    let Json::Object(mut object) = json else { return None };
    let is = |object: &Object<'_>, name: &str, value: &str| object.get(name).and_then(Json::as_str) == Some(value);
    if !is(&object, "object", reference.kind.object()) {
        return None;
    }
    if reference.kind.is_search() {
        let Some(Json::List(sessions)) = object.remove("data") else { return None };
        return match sessions.into_iter().next() {
            Some(Json::Object(first)) if is(&first, "object", "checkout.session") => Some(whole(first)),
            Some(_) => None,
            None => Some(Found::Nothing),
        };
    }
    // An Accounts v2 account may be returned as the customer that it replaces.
    let is_account = reference.id.starts_with("acct_");
    if reference.kind.object() != "list" && !is_account && !is(&object, "id", &reference.id) {
        return None;
    }
    if object.get("deleted").and_then(Json::as_bool) == Some(true) {
        return Some(Found::Nothing);
    }
    Some(whole(object))
}

fn whole(object: Object<'_>) -> Found {
    Found::Object(Arc::new(Json::Object(object).into_owned()))
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::super::tests::found as object;
    use super::*;
    use crate::stripe::reference::ReferenceKind;
    use serde_json::json;

    fn answered(kind: ReferenceKind, is_live: bool, status: u16, body: &str) -> Result<Found, ReferenceError> {
        let key = SecretString::from("rk_live_hidden");
        let access = Access { key: &key, parameter: String::new(), account: None, is_live };
        classify_response(status, body.as_bytes(), &Reference { kind, id: "cus_1".to_owned() }, &access)
    }

    #[test]
    fn every_response_is_classified() {
        use ReferenceError::*;
        let customer = json!({"id": "cus_1", "object": "customer", "metadata": {"user_id": "u"}});
        let session = json!({"id": "cs_1", "object": "checkout.session"});
        let error = |code: &str| json!({"error": {"code": code, "message": "hidden"}}).to_string();
        let missing = error("resource_missing");
        for (kind, is_live, status, body, expected) in [
            (ReferenceKind::Customer, true, 200, customer.to_string(), Ok(object(&customer))),
            (
                ReferenceKind::Customer,
                true,
                200,
                r#"{"id":"cus_1","name":"half \ud83d","object":"customer"}"#.to_owned(),
                Ok(object(&json!({"id": "cus_1", "object": "customer", "name": "half \u{fffd}"}))),
            ),
            (
                ReferenceKind::Customer,
                true,
                200,
                json!({"id": "cus_1", "object": "customer", "deleted": true}).to_string(),
                Ok(Found::Nothing),
            ),
            (
                ReferenceKind::SessionOfPayment,
                true,
                200,
                json!({"object": "list", "data": [session]}).to_string(),
                Ok(object(&session)),
            ),
            (
                ReferenceKind::SessionOfPayment,
                true,
                200,
                json!({"object": "list", "data": []}).to_string(),
                Ok(Found::Nothing),
            ),
            (ReferenceKind::SessionOfPayment, true, 200, session.to_string(), Err(NotStripe(200))),
            // Not the requested object.
            (ReferenceKind::Invoice, true, 200, customer.to_string(), Err(NotStripe(200))),
            (
                ReferenceKind::Customer,
                true,
                200,
                json!({"object": "list", "data": [customer]}).to_string(),
                Err(NotStripe(200)),
            ),
            (
                ReferenceKind::Customer,
                true,
                200,
                json!({"id": "cus_2", "object": "customer"}).to_string(),
                Err(NotStripe(200)),
            ),
            (
                ReferenceKind::SessionOfPayment,
                true,
                200,
                json!({"object": "list", "data": [customer]}).to_string(),
                Err(NotStripe(200)),
            ),
            (ReferenceKind::Customer, true, 200, format!("[{}1]", "1,".repeat(600_000)), Err(NotStripe(200))),
            (ReferenceKind::Customer, true, 200, "<html>".to_owned(), Err(NotStripe(200))),
            (ReferenceKind::Customer, true, 200, "{}".to_owned(), Err(NotStripe(200))),
            (ReferenceKind::Customer, true, 200, String::new(), Err(NotStripe(200))),
            (ReferenceKind::Customer, true, 302, String::new(), Err(NotStripe(302))),
            (ReferenceKind::Customer, true, 204, String::new(), Err(NotStripe(204))),
            (ReferenceKind::Customer, true, 401, error("api_key_expired"), Err(KeyRefused)),
            (ReferenceKind::Customer, true, 401, "<html>".to_owned(), Err(NotStripe(401))),
            (
                ReferenceKind::Customer,
                true,
                403,
                error("more_permissions_required"),
                Err(PermissionMissing(ReferenceKind::Customer)),
            ),
            (ReferenceKind::Customer, true, 403, error("account_invalid"), Err(AccountRefused)),
            (ReferenceKind::Customer, true, 403, "<html>".to_owned(), Err(NotStripe(403))),
            (ReferenceKind::Customer, true, 404, missing.clone(), Err(NotFound(ReferenceKind::Customer))),
            (ReferenceKind::Subscription, true, 404, missing.clone(), Err(NotFound(ReferenceKind::Subscription))),
            (ReferenceKind::PaymentIntent, true, 404, missing.clone(), Err(NotFound(ReferenceKind::PaymentIntent))),
            (ReferenceKind::Charge, true, 404, missing.clone(), Err(NotFound(ReferenceKind::Charge))),
            (ReferenceKind::Customer, false, 404, missing.clone(), Ok(Found::Nothing)),
            (ReferenceKind::Invoice, true, 404, missing.clone(), Ok(Found::Nothing)),
            (
                ReferenceKind::SessionOfSubscription,
                true,
                400,
                missing.clone(),
                Err(NotFound(ReferenceKind::SessionOfSubscription)),
            ),
            (ReferenceKind::SessionOfSubscription, false, 400, missing, Ok(Found::Nothing)),
            (ReferenceKind::Customer, true, 404, error("unknown_url"), Err(Status(404))),
            (ReferenceKind::Customer, true, 404, "<html>".to_owned(), Err(NotStripe(404))),
            (ReferenceKind::Customer, true, 400, error("parameter_unknown"), Err(Status(400))),
            (ReferenceKind::Customer, true, 429, String::new(), Err(TooManyRequests)),
            (ReferenceKind::Customer, true, 500, "<html>".to_owned(), Err(Status(500))),
            (ReferenceKind::Customer, true, 503, String::new(), Err(Status(503))),
        ] {
            let result = answered(kind, is_live, status, &body);
            assert_eq!(result, expected, "{status} {body}");
            assert!(result.err().is_none_or(|error| !error.to_string().contains("hidden")));
        }
    }
}
