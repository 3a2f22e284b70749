//! The event types that a project's settings select, out of all that Stripe has.

use stripe_amplitude::stripe::event_types::EventTypes;
pub(crate) use stripe_emulator::EVENT_TYPES;

/// The types that the settings select, with families (`customer.subscription.*`) expanded.
///
/// Includes named types that are not in the list: Stripe may have added them, or will reject them.
pub(crate) fn of(types: &EventTypes) -> Vec<String> {
    let known = EVENT_TYPES.iter().map(ToString::to_string);
    let named = types.add.iter().map(ToString::to_string).filter(|name| !name.ends_with(".*"));
    let unknown = named.filter(|name| EVENT_TYPES.binary_search(&name.as_str()).is_err());
    let mut wanted: Vec<_> = known.chain(unknown).filter(|event_type| types.contains(event_type)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

#[cfg(test)]
mod tests {
    use stripe_amplitude::stripe::event_types::{TYPES, TypePattern};

    use super::*;

    #[test]
    fn every_type_can_be_selected() {
        for event_type in EVENT_TYPES {
            assert!(event_type.parse::<TypePattern>().is_ok(), "{event_type}");
        }
    }

    #[test]
    fn default_types_exist() {
        let mut types = TYPES;
        types.sort_unstable();
        assert_eq!(of(&EventTypes::default()), types);
    }

    #[test]
    fn families_are_expanded_and_removed_types_omitted() {
        let parse = |patterns: &[&str]| patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
        let types = EventTypes {
            add: parse(&["customer.subscription.*", "customer.unheard_of", "charge.dispute.*"]),
            remove: parse(&["charge.*", "customer.subscription.trial_will_end"]),
            ..EventTypes::default()
        };
        let wanted = of(&types);
        for event_type in ["customer.subscription.created", "customer.unheard_of", "invoice.paid"] {
            assert!(wanted.iter().any(|wanted| wanted == event_type), "{event_type}");
        }
        for event_type in ["customer.subscription.trial_will_end", "charge.succeeded", "charge.dispute.created"] {
            assert!(wanted.iter().all(|wanted| wanted != event_type), "{event_type}");
        }
    }
}
