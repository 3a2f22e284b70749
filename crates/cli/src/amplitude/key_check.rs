//! Checks an Amplitude API key.

use serde_json::value::RawValue;
use stripe_amplitude::amplitude::Destination;
use stripe_amplitude::amplitude::batch::{BatchDelivery, BatchSink as _};
use stripe_amplitude::amplitude::client::{Client, DeliveryError};
use tokio::time::Instant;

/// Checks whether Amplitude rejects a key. Leaves nothing in Amplitude: the event has no fields, so it is rejected either
/// way, for the key or for its content. Source: Amplitude's Batch Event Upload documentation, "Response format".
///
/// # Errors
/// [`DeliveryError::InvalidApiKey`], or why the check failed.
pub(crate) async fn check_key(
    client: &Client,
    destination: &Destination,
    deadline: Instant,
) -> Result<(), DeliveryError> {
    let empty = RawValue::from_string("{}".to_owned()).map_err(|_| DeliveryError::Unserializable)?;
    let BatchDelivery { results, .. } = client.send_batch(&[empty], destination, deadline).await;
    match results.into_iter().next() {
        Some(Err(DeliveryError::InvalidRequest(_))) => Ok(()),
        Some(Err(error)) => Err(error),
        // Amplitude does not accept such an event.
        Some(Ok(())) | None => Err(DeliveryError::NotAmplitude { status: 200 }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use amplitude_emulator::{Configuration, Emulator, Fault};
    use stripe_amplitude::amplitude::{AmplitudeKey, Region};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn key_check_leaves_no_event() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/batch", listener.local_addr().unwrap());
        let emulator = Emulator::new(Configuration { api_keys: vec!["key".to_owned()], ..Configuration::default() });
        tokio::spawn(emulator.clone().serve(listener));
        let client = Client::new(crate::http::build().unwrap(), Some(url));
        let check = async |api_key: &str| {
            let destination = Destination { region: Region::Us, api_key: api_key.into(), key: AmplitudeKey::Main };
            check_key(&client, &destination, Instant::now() + Duration::from_secs(20)).await
        };
        assert_eq!(check("key").await, Ok(()));
        assert_eq!(check("other").await, Err(DeliveryError::InvalidApiKey));
        emulator.inject(Fault::answer(503), 3);
        assert_eq!(check("key").await, Err(DeliveryError::Unavailable { status: 503 }));
        emulator.inject(Fault::answer(200), 1);
        assert!(check("key").await.is_err());
        assert!(emulator.events().is_empty());
    }
}
