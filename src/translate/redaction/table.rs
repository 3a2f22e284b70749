//! The table of fields that never leave, by name and place. [`CREDENTIALS`] are credentials in every place.
//!
//! `tests/it/privacy` compares it with all fields of Stripe's objects: each text is either in this table or in the list
//! of fields that stay. `docs/privacy.md` is generated from both.

use crate::stripe::credentials::CREDENTIALS;

/// A field, by its name and place. A place is the `object` kind of the JSON object that holds the field
/// (`checkout.session`), or, if it has no kind, the name of its own field (`billing_details`).
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The name of the field.
    pub name: &'static str,
    /// The place.
    pub place: Place,
}

/// The places of a field.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// All.
    Any,
    /// These.
    Only(&'static [&'static str]),
    /// All but these.
    AnyBut(&'static [&'static str]),
}

/// Applies to fields with this name in every place.
pub const fn anywhere(name: &'static str) -> Rule {
    Rule { name, place: Place::Any }
}

/// Applies to fields with this name in these places.
pub const fn only_in(name: &'static str, places: &'static [&'static str]) -> Rule {
    Rule { name, place: Place::Only(places) }
}

/// Applies to fields with this name in all places but these.
pub const fn anywhere_but_in(name: &'static str, places: &'static [&'static str]) -> Rule {
    Rule { name, place: Place::AnyBut(places) }
}

impl Rule {
    /// Whether it applies to a field with its name in this place.
    pub fn applies_in(&self, place: &str) -> bool {
        match self.place {
            Place::Any => true,
            Place::Only(places) => places.contains(&place),
            Place::AnyBut(places) => !places.contains(&place),
        }
    }
}

/// All credentials, which never leave.
pub fn credentials() -> impl Iterator<Item = Rule> {
    CREDENTIALS.into_iter().map(anywhere).chain(CREDENTIALS_BY_PLACE.iter().copied())
}

/// Fields that are credentials only in some places.
const CREDENTIALS_BY_PLACE: &[Rule] = &[
    only_in("number", &["card", "issuing.card"]),
    only_in("pin", &["issuing.card"]),
    only_in("pdf", &["credit_note", "quote"]),
    // The bitcoin address that a source was paid to.
    only_in("uri", &["bitcoin"]),
    // An app's stored secret, and the body and headers of a request that carried a card.
    only_in("payload", &["apps.secret"]),
    only_in("body", &["request_details", "response_details"]),
    only_in("value", &["headers"]),
    only_in(
        "url",
        &[
            "account_link",
            "billing_portal.session",
            "checkout.session",
            "file",
            "file_link",
            "forwarding.request",
            "identity.verification_session",
            "login_link",
            "recovery",
            "redirect",
            "webhook_endpoint",
            // The text of a mandate, with the account that it is about.
            "au_becs_debit",
            "bacs_debit",
            "sepa_debit",
        ],
    ),
    only_in("username", &["enterprise_eap_peap", "in_development"]),
];

/// Fields that identify a person or say where they live or how to reach them, by kind. Countries, states, brands and
/// statuses stay, and so does the bank of an account; its branch and its number are removed.
pub const PERSONAL_DATA: &[(&str, &[Rule])] = &[
    (
        "an e-mail address",
        &[
            anywhere("email"),
            anywhere("customer_email"),
            anywhere("customer_email_address"),
            anywhere("email_sent_to"),
            anywhere("hashed_account_email_address"),
            anywhere("instructions_email"),
            anywhere("payer_email"),
            anywhere("receipt_email"),
            anywhere("support_email"),
            anywhere("verified_email"),
        ],
    ),
    (
        "a phone number or a substitute for one",
        &[
            // Konbini's confirmation number is usually the buyer's phone number.
            only_in("confirmation_number", &["konbini"]),
            anywhere("customer_phone"),
            anywhere("phone"),
            anywhere("phone_last4"),
            anywhere("phone_number"),
            anywhere("support_phone"),
            anywhere("verified_phone"),
            anywhere("verified_phone_last4"),
        ],
    ),
    (
        "the name of a person",
        &[
            // A plain `name` is personal, except for things.
            anywhere_but_in(
                "name",
                &[
                    "application",
                    "billing.credit_grant",
                    "coupon",
                    "custom_fields",
                    "entitlements.feature",
                    "features",
                    "marketing_features",
                    "merchant_data",
                    "plan",
                    "price",
                    "product",
                    "product_data",
                ],
            ),
            anywhere("account_holder_name"),
            anywhere("business_name"),
            anywhere("cardholder_name"),
            // The user who put an item on a Radar list.
            only_in("created_by", &["radar.value_list", "radar.value_list_item"]),
            // A bank's data about the sender of a transfer.
            anywhere("customer_data"),
            anywhere("customer_name"),
            // The name of a connected account, which may be its owner's; the name that a bank's customer gave an
            // account.
            only_in("display_name", &["account", "dashboard", "financial_connections.account"]),
            anywhere("evidence_customer_signature"),
            anywhere("first_name"),
            anywhere("first_name_kana"),
            anywhere("first_name_kanji"),
            anywhere("full_name"),
            anywhere("full_name_aliases"),
            anywhere("individual_name"),
            anywhere("last_name"),
            anywhere("last_name_kana"),
            anywhere("last_name_kanji"),
            anywhere("maiden_name"),
            anywhere("name_kana"),
            anywhere("name_kanji"),
            anywhere("passenger_name"),
            anywhere("payer_name"),
            anywhere("public_name"),
            anywhere("refund_account_holder_name"),
            anywhere("registered_name"),
            // The second line on a card, below the name of its holder.
            only_in("second_line", &["issuing.card"]),
            anywhere("sender_name"),
            anywhere("shipping_first_name"),
            anywhere("shipping_last_name"),
            anywhere("verified_name"),
        ],
    ),
    (
        "birth, sex, origin or profession",
        &[
            anywhere("dob"),
            anywhere("gender"),
            // The country of a passport.
            anywhere("issuing_country"),
            // The owners of a business: women, minorities.
            anywhere("minority_owned_business_designation"),
            anywhere("nationality"),
            anywhere("percent_ownership"),
            anywhere("political_exposure"),
            anywhere("sex"),
            only_in("title", &["relationship"]),
            anywhere("unparsed_place_of_birth"),
            anywhere("unparsed_sex"),
            // Ethnicity, race and gender.
            anywhere("us_cfpb_data"),
        ],
    ),
    (
        "text that a customer typed",
        &[
            // The reason for a cancellation in the customer's own words.
            anywhere("comment"),
            // A checkout's custom fields; input, speech and signatures at a reader.
            only_in("text", &["custom_fields", "inputs"]),
            only_in("numeric", &["custom_fields", "inputs"]),
            only_in("signature", &["inputs"]),
            // A driver's input at a fuel pump.
            only_in("alphanumeric_id", &["cardholder_prompt_data"]),
            only_in("unspecified_id", &["cardholder_prompt_data"]),
            only_in("user_id", &["cardholder_prompt_data"]),
            only_in("vehicle_number", &["cardholder_prompt_data"]),
            // The text of a bank transfer from its sender.
            only_in(
                "reference",
                &["bank_transfer", "chf_credit_transfer", "gbp_credit_transfer", "sepa_credit_transfer"],
            ),
            // The names of uploaded files.
            anywhere("filename"),
            only_in("title", &["file"]),
        ],
    ),
    (
        "evidence in a dispute",
        &[
            // Letters, receipts, addresses.
            anywhere("evidence"),
        ],
    ),
    (
        "what a bank shows its customer",
        &[
            only_in("balance", &["financial_connections.account"]),
            only_in(
                "description",
                &[
                    "financial_connections.transaction",
                    "treasury.received_credit",
                    "treasury.received_debit",
                    "treasury.transaction",
                ],
            ),
        ],
    ),
    (
        "a part of an address",
        &[
            anywhere("address_city"),
            anywhere("address_line1"),
            anywhere("address_line2"),
            anywhere("address_zip"),
            anywhere("bank_address_city"),
            anywhere("bank_address_line_1"),
            anywhere("bank_address_line_2"),
            anywhere("bank_address_postal_code"),
            anywhere("billing_zip"),
            anywhere("city"),
            anywhere("from_postal_code"),
            anywhere("line1"),
            anywhere("line2"),
            anywhere("postal_code"),
            anywhere("raw_address"),
            anywhere("refund_account_holder_address_city"),
            anywhere("refund_account_holder_address_line1"),
            anywhere("refund_account_holder_address_line2"),
            anywhere("refund_account_holder_address_postal_code"),
            anywhere("sender_address_line1"),
            anywhere("shipping_address_zip"),
            anywhere("shipping_from_zip"),
            anywhere("to_postal_code"),
            anywhere("town"),
            anywhere("verified_address"),
        ],
    ),
    (
        "where a person or their parcel is",
        &[
            anywhere("latitude"),
            anywhere("longitude"),
            only_in("location", &["device"]),
            anywhere("tracking_number"),
            anywhere("tracking_url"),
        ],
    ),
    (
        "a tax or identity number",
        &[
            anywhere("account_tax_ids"),
            anywhere("business_vat_id"),
            anywhere("customer_tax_ids"),
            anywhere("driver_id"),
            anywhere("eori_number"),
            // A document's number and dates, which many banks ask for.
            only_in("expiration_date", &["document"]),
            anywhere("export_license_id"),
            anywhere("id_number"),
            only_in("issued_date", &["document"]),
            only_in("number", &["document"]),
            anywhere("personal_id_number"),
            anywhere("registration_number"),
            anywhere("ssn_last_4"),
            anywhere("tax_deduction_account_number"),
            anywhere("tax_id"),
            anywhere("tax_ids"),
            only_in("value", &["tax_id"]),
            only_in("vat", &["company_details"]),
        ],
    ),
    (
        "an IP address, or a device",
        &[
            anywhere("browser"),
            anywhere("client_ip"),
            anywhere("customer_ip"),
            anywhere("customer_purchase_ip"),
            anywhere("destination_ip_address"),
            only_in("device", &["session"]),
            anywhere("ip"),
            anywhere("ip_address"),
            only_in("platform", &["session"]),
            anywhere("user_agent"),
            only_in("version", &["session"]),
        ],
    ),
    (
        "an account with a wallet",
        &[
            only_in("account_id", &["wallet_provider"]),
            anywhere("billing_agreement_id"),
            anywhere("buyer_address"),
            anywhere("buyer_id"),
            anywhere("cashtag"),
            // The names of accounts with PayTo and UPI.
            anywhere("pay_id"),
            anywhere("payer_id"),
            anywhere("refund_address"),
            only_in("username", &["alipay_account"]),
            anywhere("vpa"),
        ],
    ),
    (
        "a fingerprint or digits of a card or bank account",
        &[
            anywhere("account_number"),
            anywhere("account_number_last4"),
            // The account or bitcoin wallet that a source is paid into; below, of bitcoin receivers.
            only_in("address", &["bitcoin", "receiver"]),
            anywhere("branch_code"),
            anywhere("branch_name"),
            anywhere("bsb_number"),
            anywhere("card_reference_id"),
            anywhere("clabe"),
            anywhere("device_fingerprint"),
            anywhere("dynamic_last4"),
            anywhere("fingerprint"),
            anywhere("iban"),
            anywhere("iban_last4"),
            anywhere("iin"),
            anywhere("inbound_address"),
            anywhere("last4"),
            anywhere("primary_account_identifier"),
            // A refund's blockchain transaction, like `transaction_hash`.
            only_in("reference", &["crypto"]),
            anywhere("refund_iban"),
            anywhere("refund_routing_number"),
            anywhere("routing_number"),
            anywhere("sender_account_number"),
            anywhere("sender_branch"),
            anywhere("sender_iban"),
            anywhere("sender_sort_code"),
            anywhere("sort_code"),
            // The last digits of an account in New Zealand.
            only_in("suffix", &["nz_bank_account"]),
            anywhere("token_reference_id"),
            // It leads to the buyer's wallet.
            anywhere("transaction_hash"),
            anywhere("transit_number"),
            // The items of a Radar list: cards, e-mail addresses, IP addresses.
            only_in("value", &["radar.value_list_item"]),
        ],
    ),
];
