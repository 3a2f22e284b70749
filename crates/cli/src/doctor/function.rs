//! The response of the function to the test event. Pure.

use super::finding::Finding;
use crate::proof::Verdict;

pub(super) fn check(url: &str, verdict: &Verdict) -> Finding {
    match verdict {
        Verdict::Proven => {
            Finding::ok(format!("{url} is the function, and has the signing secret: it ignored a signed test event"))
        }
        Verdict::NotYet(why) => Finding::problem(format!(
            "{url} does not work: {why}; changes of the last five minutes may not be active yet"
        )),
        Verdict::Failed(why) => Finding::problem(format!("{url} does not work: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Grade;

    #[test]
    fn only_a_proven_function_is_ok() {
        let why = || "404".to_owned();
        for (verdict, grade) in [
            (Verdict::Proven, Grade::Ok),
            (Verdict::NotYet(why()), Grade::Problem),
            (Verdict::Failed(why()), Grade::Problem),
        ] {
            let finding = check("https://a.example/stripe/shop", &verdict);
            assert_eq!(finding.grade, grade, "{finding:?}");
            assert!(finding.words.starts_with("https://a.example/stripe/shop "), "{finding:?}");
            assert_eq!(finding.words.contains("404"), grade == Grade::Problem, "{finding:?}");
        }
    }
}
