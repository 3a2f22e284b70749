//! The floor: the same runtime and the same gateway payload as the function, without any work.

use lambda_http::{Error, Request, service_fn};

fn main() -> Result<(), Error> {
    // Like the function: one thread is enough for one request at a time.
    let concurrency = std::env::var("AWS_LAMBDA_MAX_CONCURRENCY").ok().and_then(|number| number.parse().ok());
    let mut builder = match concurrency.unwrap_or(1_u32) {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build()?.block_on(lambda_http::run_concurrent(service_fn(hello)))
}

async fn hello(_: Request) -> Result<&'static str, Error> {
    Ok("hello")
}
