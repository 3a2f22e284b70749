//! `docs/privacy.md`: what is sent and what is not, for those who have to answer for it.

use stripe_amplitude::translate::redaction::table::{PERSONAL_DATA, Place, Rule, credentials};

use super::fields::NEWEST;
use super::kept::KEPT;

/// The number of kinds of objects and of their text fields.
pub(crate) struct Counts {
    pub objects: usize,
    pub sent: usize,
    pub removed: usize,
}

/// The page. Its sentences are written here; its lists come from the table and from the reasons to keep a field.
pub(crate) fn page(counts: &Counts) -> String {
    let Counts { objects, sent, removed } = counts;
    let texts = sent + removed;
    let version = NEWEST.lines().next().and_then(|line| line.split_once("API ")).unwrap().1;
    let credentials = fields(credentials());
    let removed_by_kind = table(["What it is", "Fields"], PERSONAL_DATA);
    let sent_by_reason = table(["Why it is sent", "Fields"], KEPT);
    format!(
        "\
<!-- Written by `make privacy`. Change src/translate/redaction/table.rs or tests/it/privacy/ instead. -->

# What is sent to Amplitude, and what is not

An event carries the fields of Stripe's object to Amplitude, except those that this page lists as removed. Fields are removed \
by name and place before the event leaves the function. Nothing is hashed or shortened: a removed field is not there.

- **Credentials** are always removed: with them, somebody could pay, read or act.
- **Personal data** are removed with `\"personal_data\": \"drop\"`, which is the default. With `\"keep\"` they are sent.
- **The rest** is sent. `drop_properties` removes more, such as `metadata.email`.
- **The user ID** is what the setting `user_id_paths` finds, and it is sent. It can be an e-mail address: the default paths \
take one where the metadata hold no ID.

A name in the lists means the field of that name and everything in it. Where one name means two things, the list says where: \
in an object of that kind (`checkout.session`), or in a field of that name (`billing_details`). \
`*` stands for any name.

## Always removed

{credentials}.

## Removed by default

{removed_by_kind}
## Sent

{sent_by_reason}
Also sent, unless they are listed as removed:

- Whole numbers, which are amounts, quantities and times, and `true` and `false`.
- Values from a fixed list of Stripe's, such as a status or a type.
- IDs of Stripe's objects, such as `cus_…`. They open nothing without a key of the account.
- The content of `metadata` and `description`: it is yours, and you decide what you write into them.

## How complete this is

The lists cover {objects} kinds of objects with {texts} text fields: {removed} are removed, {sent} are sent. They are all \
that Stripe's own library has for API version {version} and for 2024-06-20, and more of other versions. A test reads them \
from the library and sends an object of each kind through the function; a field that is neither removed nor listed with a \
reason fails it, so a new version of the library stops the build until somebody has decided.

A field that is newer than the library is not known yet, and is sent unless its name is on a list above.
"
    )
}

/// Fields grouped by a common property.
fn table(titles: [&str; 2], groups: &[(&str, &[Rule])]) -> String {
    let rows = groups.iter().map(|(title, rules)| {
        let (first, rest) = title.split_at(1);
        format!("| {}{rest} | {} |\n", first.to_uppercase(), fields(rules.iter().copied()))
    });
    let [first, second] = titles;
    format!("| {first} | {second} |\n| --- | --- |\n{}", rows.collect::<String>())
}

/// Fields sorted by name, each with its place.
fn fields(rules: impl Iterator<Item = Rule>) -> String {
    let mut rules: Vec<Rule> = rules.collect();
    rules.sort_by_key(|rule| rule.name);
    let quoted = |places: &[&str]| places.iter().map(|place| format!("`{place}`")).collect::<Vec<_>>().join(", ");
    let fields = rules.into_iter().map(|Rule { name, place }| match place {
        Place::Any => format!("`{name}`"),
        Place::Only(places) => format!("`{name}` (in {})", quoted(places)),
        Place::AnyBut(places) => format!("`{name}` (not in {})", quoted(places)),
    });
    fields.collect::<Vec<_>>().join(", ")
}
