//! Fields whose holder can pay, read or act, anywhere in Stripe's objects. They are never forwarded, and no path in the
//! settings may lead to one.

/// Their names.
pub const CREDENTIALS: [&str; 37] = [
    "client_secret",
    "secret",
    "password",
    "private_key_file_password",
    "admin_menu_passcode",
    "auth_code",
    "client_token",
    "persistent_token",
    "cvc",
    "cvc_token",
    // They prove to a bank that 3-D Secure was completed, or that a chip was read; the messages hold the proof.
    "cryptogram",
    "application_cryptogram",
    "emv_auth_data",
    "evidence_transaction_certificate",
    "ares",
    "rreq",
    "next_action",
    "next_source_action",
    "challenge_url",
    "fingerprinting_url",
    "receipt_url",
    "hosted_invoice_url",
    "hosted_instructions_url",
    "hosted_regulatory_receipt_url",
    "hosted_verification_url",
    "hosted_voucher_url",
    "invoice_pdf",
    "mandate_url",
    // Where the buyer of a source pays: a link, or the data for one in an app.
    "redirect_url",
    "pay_later_redirect_url",
    "pay_now_redirect_url",
    "pay_over_time_redirect_url",
    "native_url",
    "data_string",
    "prepay_id",
    "bitcoin_uri",
    "qr_code_url",
];

/// The ends of paths to fields that are credentials in some objects, and user IDs in none.
pub const NEVER_IDS: [&[&str]; 4] = [&["pdf"], &["pin"], &["url"], &["card", "number"]];
