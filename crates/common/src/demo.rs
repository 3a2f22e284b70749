//! The built-in project `demo`.

use stripe_amplitude::projects::parameters::Parameter;

/// Its name.
pub const DEMO: &str = "demo";

/// Its signing secret. It protects nothing.
pub const DEMO_SECRET: &str = "whsec_demo";

const SETTINGS: &str = r#"{
    "max_age_days": 0,
    "references": "follow",
    "products": "follow",
    "user_id_paths": [
        "metadata.amplitude_id",
        "metadata.user_id",
        "customer.metadata.amplitude_id",
        "customer.metadata.user_id",
        "subscription.metadata.user_id",
        "invoice.metadata.user_id",
        "checkout_session.client_reference_id",
        "checkout_session.metadata.user_id",
        "customer.email",
        "customer_email",
        "receipt_email",
        "customer"
    ]
}"#;

/// Its parameters. Any Amplitude key works, because its events go to a local Amplitude; so does any Stripe key. An ID that
/// an app set for its user takes precedence over an email address, whichever object it is on.
pub fn parameters() -> Vec<Parameter> {
    let parameter = |name: &str, value: &str| Parameter { name: name.to_owned(), value: value.into() };
    vec![
        parameter("stripe-signing-secret", DEMO_SECRET),
        parameter("amplitude-api-key", "demo"),
        parameter("stripe-api-key", "rk_live_demo"),
        parameter("stripe-test-api-key", "rk_test_demo"),
        // No age limit: samples and the generated shop are older than seven days, and a local Amplitude accepts them.
        parameter("settings", SETTINGS),
    ]
}
