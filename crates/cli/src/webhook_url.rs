//! The URL that Stripe calls.

use reqwest::Url;
use stripe_amplitude::projects::name::ProjectName;

/// The URL of a project's webhook, written as browsers write it, so that two can be compared.
///
/// # Errors
/// A sentence that says what it should be.
pub(crate) fn parse(text: &str, project: &ProjectName) -> Result<String, String> {
    let end = format!("/stripe/{project}");
    let error = |what: &str| format!("--url {what}; it takes the URL that Stripe calls, https://…{end}");
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
        return Err(error("goes on behind its path"));
    }
    // The end of the path says which project it is, whatever stands before: a stage, or the path of a custom domain.
    if url.path().ends_with('/') && url.path().trim_end_matches('/').ends_with(&end) {
        return Err(error(&format!("has a slash behind {end}, which the function answers with 404")));
    }
    if !url.path().ends_with(&end) {
        return Err(error(&format!("does not end with {end}, which is how the function finds the project")));
    }
    Ok(url.into())
}

/// The same of a URL that somebody else has written.
pub(crate) fn is_same(text: &str, url: &str) -> bool {
    text.parse::<Url>().is_ok_and(|text| text.as_str() == url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_ends_with_the_project_and_is_encrypted() {
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
            ("https://a.example/stripe/shop/", "has a slash behind /stripe/shop"),
            ("https://a.example/stripe/other", "does not end with /stripe/shop"),
            ("https://a.example/pinstripe/shop", "does not end with /stripe/shop"),
            ("https://a.example/shop", "does not end with /stripe/shop"),
            ("https://a.example/stripe/shop?x=1", "behind its path"),
            ("https://hidden:hidden@a.example/stripe/shop", "a user name or a password"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words) && error.contains("https://…/stripe/shop"), "{text}: {error}");
            assert!(!error.contains("hidden"), "{error}");
        }
    }
}
