//! The URL that Stripe calls.

use reqwest::Url;
use stripe_amplitude::projects::name::ProjectName;

/// Normalizes the URL of a project's webhook, so that two URLs can be compared.
///
/// # Errors
/// A sentence that says what is wrong and what was expected.
pub(crate) fn parse(text: &str, project: &ProjectName) -> Result<String, String> {
    let end = format!("/stripe/{project}");
    let error = |what: &str| format!("--url {what}; expected the URL that Stripe calls, https://…{end}");
    let url: Url = text.parse().map_err(|_| error("is not a URL"))?;
    let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match url.scheme() {
        "https" => {}
        "http" if is_local => {}
        _ => return Err(error("does not begin with https://")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(error("has a user name or a password, which Stripe does not send"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(error("has a query or a fragment"));
    }
    // Only the end of the path identifies the project. A stage or a custom domain's path may precede it.
    if url.path().ends_with('/') && url.path().trim_end_matches('/').ends_with(&end) {
        return Err(error(&format!("has a slash after {end}, for which the function returns 404")));
    }
    if !url.path().ends_with(&end) {
        return Err(error(&format!("does not end with {end}, which identifies the project")));
    }
    Ok(url.into())
}

/// Whether a URL normalizes to the other one.
pub(crate) fn is_same(text: &str, url: &str) -> bool {
    text.parse::<Url>().is_ok_and(|text| text.as_str() == url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_ends_with_the_project_and_is_encrypted() {
        let parse = |text| parse(text, &"shop".parse().unwrap());
        for (text, written) in [
            ("https://a.example/stripe/shop", "https://a.example/stripe/shop"),
            ("HTTPS://A.example:443/prod/stripe/shop", "https://a.example/prod/stripe/shop"),
            ("http://127.0.0.1:3000/stripe/shop", "http://127.0.0.1:3000/stripe/shop"),
            ("http://localhost/stripe/shop", "http://localhost/stripe/shop"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(written));
            assert!(is_same(text, written));
        }
        for (text, words) in [
            ("a.example/stripe/shop", "not a URL"),
            ("http://a.example/stripe/shop", "https://"),
            ("ftp://a.example/stripe/shop", "https://"),
            ("https://a.example/stripe/shop/", "has a slash after /stripe/shop"),
            ("https://a.example/stripe/other", "does not end with /stripe/shop"),
            ("https://a.example/pinstripe/shop", "does not end with /stripe/shop"),
            ("https://a.example/shop", "does not end with /stripe/shop"),
            ("https://a.example/stripe/shop?x=1", "a query or a fragment"),
            ("https://hidden:hidden@a.example/stripe/shop", "a user name or a password"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words) && error.contains("https://…/stripe/shop"), "{text}: {error}");
            assert!(!error.contains("hidden"), "{error}");
        }
    }
}
