//! Fields whose holder can pay, read or act, wherever in Stripe's objects they stand. They never leave, and no path of the
//! settings may lead to one.

/// Their names.
pub const CREDENTIALS: [&str; 15] = [
    "client_secret",
    "secret",
    "password",
    "cvc",
    // It proves to a bank that 3-D Secure was completed.
    "cryptogram",
    "next_action",
    "challenge_url",
    "receipt_url",
    "hosted_invoice_url",
    "hosted_instructions_url",
    "hosted_regulatory_receipt_url",
    "hosted_verification_url",
    "hosted_voucher_url",
    "invoice_pdf",
    "mandate_url",
];

/// The ends of paths to fields that are credentials in some objects, and user IDs in none.
pub const NEVER_IDS: [&[&str]; 4] = [&["pdf"], &["pin"], &["url"], &["card", "number"]];
