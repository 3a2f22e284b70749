//! The events in a database for the charts' queries.

use amplitude_emulator::AcceptedEvent;
use rusqlite::{Connection, Row, Statement, ToSql, named_params};
use serde_json::Value;
use stripe_amplitude_common::money::Money;

use super::ChartsError;

/// The events of one project, in memory.
pub(super) struct Database {
    connection: Connection,
}

impl Database {
    pub(super) fn of<'e>(events: impl IntoIterator<Item = &'e AcceptedEvent>) -> Result<Self, ChartsError> {
        let mut connection = Connection::open_in_memory()?;
        connection.execute_batch(include_str!("schema.sql"))?;
        let transaction = connection.transaction()?;
        let mut insertion = transaction.prepare(INSERTION)?;
        for event in events {
            insert(&mut insertion, event)?;
        }
        drop(insertion);
        transaction.commit()?;
        Ok(Self { connection })
    }

    pub(super) fn rows<T>(&self, query: &str, parameters: &[(&str, &dyn ToSql)]) -> Result<Vec<T>, ChartsError>
    where
        T: for<'r> TryFrom<&'r Row<'r>, Error = rusqlite::Error>,
    {
        let mut statement = self.connection.prepare(query)?;
        let rows = statement.query_map(parameters, |row| T::try_from(row))?.collect::<Result<_, _>>()?;
        Ok(rows)
    }

    pub(super) fn number(&self, query: &str) -> Result<u32, ChartsError> {
        Ok(self.connection.query_row(query, [], |row| row.get(0))?)
    }
}

const INSERTION: &str = "INSERT INTO event (event_type, user, time, revenue, currency, product_names)
    VALUES (:event_type, :user, :time, :revenue, :currency, :product_names)";

fn insert(insertion: &mut Statement<'_>, accepted: &AcceptedEvent) -> Result<(), ChartsError> {
    let AcceptedEvent { event, attributed_user_id, upload_time, .. } = accepted;
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    let properties = event.get("event_properties").and_then(Value::as_object);
    let property = |name: &str| properties.and_then(|properties| properties.get(name));
    insertion.execute(named_params! {
        ":event_type": text("event_type").unwrap_or_default(),
        ":user": attributed_user_id.as_deref().or_else(|| text("device_id")).unwrap_or_default(),
        // Amplitude also defaults to the upload time.
        ":time": event.get("time").and_then(Value::as_i64).unwrap_or(*upload_time),
        ":revenue": event.get("revenue").and_then(Money::of),
        // The same value in both; a project may drop the property.
        ":currency": text("currency").or_else(|| property("normalized_currency")?.as_str()),
        ":product_names": property("product_names").and_then(strings),
    })?;
    Ok(())
}

/// An array of strings, which a free plan can group by.
fn strings(value: &Value) -> Option<String> {
    value.as_array()?.iter().all(Value::is_string).then(|| value.to_string())
}
