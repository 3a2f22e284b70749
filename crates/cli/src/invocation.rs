//! `invocation`: the payload with which a gateway would invoke the function.

use std::error::Error;
use std::path::PathBuf;

use serde_json::{Map, Value, json};
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::stripe::signature::{self, SigningSecret};

use crate::endpoint::{HEADERS, USER_AGENT};
use crate::event_file::{self, Created};
use crate::exit::Exit;
use crate::projects::{DEMO, DEMO_SECRET};
use crate::terminal::say;
use crate::{clock, input, key};

/// Print a freshly signed invocation of the function
///
/// In the format of an HTTP API (payload version 2.0) or another gateway. A signature is valid for five minutes.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo cli invocation events/stripe/invoice.paid.json | sam local invoke Function --event -
  cargo cli invocation events/stripe/invoice.paid.json --rest > /tmp/i.json
  cargo lambda invoke stripe-amplitude --data-file /tmp/i.json")]
pub(crate) struct Arguments {
    /// The file of an event; - is standard input
    #[arg(value_name = "EVENT.json")]
    event: PathBuf,
    /// The project, the last part of the path
    #[arg(long, default_value = DEMO)]
    project: ProjectName,
    /// The signing secret, whsec_…; use the variable to hide it from other users of this machine
    #[arg(long, env = "STRIPE_SIGNING_SECRET", hide_env_values = true, default_value = DEMO_SECRET)]
    secret: String,
    /// Event timestamp
    #[arg(long, value_enum, default_value_t = Created::Now)]
    created: Created,
    /// In the format of a REST API (payload version 1.0)
    #[arg(long, conflicts_with = "function_url")]
    rest: bool,
    /// In the format of a Function URL (payload version 2.0)
    #[arg(long)]
    function_url: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    let now = clock::now();
    let body = event_file::read(&arguments.event, arguments.created, now)?;
    let body = String::from_utf8(body).map_err(|_| format!("{} is not UTF-8", input::name(&arguments.event)))?;
    let gateway = match (arguments.rest, arguments.function_url) {
        (true, _) => Gateway::RestApi,
        (_, true) => Gateway::FunctionUrl,
        _ => Gateway::HttpApi,
    };
    let secret = key::signing_secret(&arguments.secret)?;
    say!("{:#}", invocation(gateway, &arguments.project, &secret, now, &body))?;
    Ok(Exit::Success)
}

/// The gateway in front of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gateway {
    HttpApi,
    RestApi,
    FunctionUrl,
}

const HOST: &str = "example.execute-api.eu-central-1.amazonaws.com";
/// From the range for documentation.
const SOURCE_IP: &str = "192.0.2.1";

/// The invocation for a delivery with the signature of this time (Unix seconds). Source: "Lambda proxy integrations" in the
/// developer guides of API Gateway (REST APIs, HTTP APIs), "Invoking Lambda function URLs" in Lambda's.
fn invocation(gateway: Gateway, project: &ProjectName, secret: &SigningSecret, time: u64, body: &str) -> Value {
    let signature = signature::sign(secret, time, body.as_bytes());
    match gateway {
        Gateway::RestApi => payload_1(project, &signature, time, body),
        Gateway::HttpApi => payload_2(project, &signature, time, body, HOST),
        Gateway::FunctionUrl => payload_2(project, &signature, time, body, "example.lambda-url.eu-central-1.on.aws"),
    }
}

/// Stripe's headers, and those that the gateway adds.
fn headers<'h>(host: &'h str, signature: &'h str) -> Vec<(&'static str, &'h str)> {
    let added = [
        ("Host", host),
        ("Stripe-Signature", signature),
        ("X-Forwarded-For", SOURCE_IP),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Proto", "https"),
    ];
    HEADERS.into_iter().chain(added).collect()
}

/// With header names in lower case.
fn payload_2(project: &ProjectName, signature: &str, time: u64, body: &str, host: &str) -> Value {
    let path = format!("/stripe/{project}");
    let length = body.len().to_string();
    let mut headers = headers(host, signature);
    headers.push(("Content-Length", &length));
    let headers: Map<_, _> = headers.iter().map(|(name, value)| (name.to_lowercase(), json!(value))).collect();
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "example",
            "domainName": host,
            "domainPrefix": "example",
            "http": {
                "method": "POST",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": SOURCE_IP,
                "userAgent": USER_AGENT,
            },
            "requestId": "EXAMPLE",
            "routeKey": "$default",
            "stage": "$default",
            "timeEpoch": time * 1000,
        },
        "body": body,
        "isBase64Encoded": false,
    })
}

/// With header names as sent.
fn payload_1(project: &ProjectName, signature: &str, time: u64, body: &str) -> Value {
    let path = format!("/stripe/{project}");
    let headers = headers(HOST, signature);
    let single: Map<_, _> = headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let lists: Map<_, _> = headers.iter().map(|(name, value)| ((*name).to_owned(), json!([value]))).collect();
    json!({
        "resource": "/stripe/{project}",
        "path": path,
        "httpMethod": "POST",
        "headers": single,
        "multiValueHeaders": lists,
        "queryStringParameters": null,
        "multiValueQueryStringParameters": null,
        "pathParameters": {"project": project.as_str()},
        "stageVariables": null,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "example",
            "domainName": HOST,
            "domainPrefix": "example",
            "httpMethod": "POST",
            "identity": {"sourceIp": SOURCE_IP, "userAgent": USER_AGENT},
            "path": format!("/prod{path}"),
            "protocol": "HTTP/1.1",
            "requestId": "EXAMPLE",
            "requestTimeEpoch": time * 1000,
            "resourceId": "example",
            "resourcePath": "/stripe/{project}",
            "stage": "prod",
        },
        "body": body,
        "isBase64Encoded": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signing time of the committed invocations. `events/env.json` allows their age.
    const COMMITTED_AT: u64 = 1_721_948_600;

    #[test]
    fn committed_invocations_are_current() {
        let event = include_str!("../../../events/stripe/payment_intent.succeeded.json");
        let secret = SigningSecret::new(DEMO_SECRET.into(), None);
        for (gateway, file) in
            [(Gateway::HttpApi, "http-api"), (Gateway::RestApi, "rest-api"), (Gateway::FunctionUrl, "function-url")]
        {
            let invocation = invocation(gateway, &DEMO.parse().unwrap(), &secret, COMMITTED_AT, event);
            let path = format!("{}/../../events/invocations/{file}.json", env!("CARGO_MANIFEST_DIR"));
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(format!("{invocation:#}\n"), committed, "write this into {path}");
        }
    }
}
