//! Masks IDs.

/// `us…42`, or `a…@e….org` for an e-mail address.
pub(super) fn masked(id: &str) -> String {
    if let Some((local, domain)) = id.trim().rsplit_once('@') {
        let first = |text: &str| text.chars().next().map(String::from).unwrap_or_default();
        let end = domain.rsplit_once('.').map(|(_, end)| format!(".{end}")).unwrap_or_default();
        return format!("{}…@{}…{end}", first(local), first(domain));
    }
    let characters: Vec<char> = id.chars().collect();
    let shown = if characters.len() < 6 { (1, 0) } else { (2, 2) };
    let start: String = characters.iter().take(shown.0).collect();
    let end: String = characters.iter().skip(characters.len() - shown.1).collect();
    format!("{start}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_masked() {
        for (id, expected) in [
            ("user_42", "us…42"),
            ("user42", "us…42"),
            ("12345", "1…"),
            ("7", "7…"),
            ("", "…"),
            ("anna@example.org", "a…@e….org"),
            ("anna@localhost", "a…@l…"),
            ("@", "…@…"),
            ("üöäüöä", "üö…öä"),
        ] {
            assert_eq!(masked(id), expected);
        }
    }
}
