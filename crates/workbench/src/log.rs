//! The deliveries that the workbench shows, stored in a file if the user names one.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, named_params};
use serde::{Deserialize, Serialize};
use stripe_amplitude_common::private_file;

use crate::credential::hide;
use crate::exchange::Exchange;
use crate::reads::Read;

/// Deliveries on a page of the list.
pub(crate) const PAGE: usize = 100;

/// Changes with the table. Files of other versions are rejected.
const VERSION: i64 = 3;

/// Marks SQLite files of the workbench. Others are left unchanged.
const APPLICATION: i64 = 0x5374_416d;

const TABLE: &str = "
    create table delivery (
        number integer primary key,
        received integer not null,
        project text not null,
        event text,
        type text,
        outcome text not null,
        status integer not null,
        code text,
        reason text,
        user text,
        revenue text,
        repeat integer not null,
        milliseconds real not null,
        path text not null,
        headers text not null,
        body blob not null,
        answer text not null,
        exchanges text not null,
        reads text not null
    ) strict;
";

/// The suffixes of the files that SQLite creates beside a database.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Unsigned deliveries that are stored, the newest.
const MAX_UNSIGNED: usize = 1000;

/// Bytes of the body of an unsigned delivery that are stored.
const UNSIGNED_BODY_BYTES: usize = 4096;
/// Characters of its path and of each header.
const UNSIGNED_TEXT_CHARACTERS: usize = 256;

/// Headers of an unsigned delivery that are stored.
const UNSIGNED_HEADERS: usize = 8;

/// Finds unsigned deliveries. Older files lack it.
const INDEX: &str = "create index if not exists stranger on delivery (number) where event is null";

/// A delivery in the list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// From 1, in the order in which they were received.
    pub(crate) number: u64,
    /// Unix milliseconds.
    pub(crate) received: u64,
    /// The last part of the path.
    pub(crate) project: String,
    /// Stripe's event ID, if it could be read.
    pub(crate) event: Option<String>,
    /// Stripe's type.
    #[serde(rename = "type")]
    pub(crate) event_type: Option<String>,
    /// As in the response.
    pub(crate) outcome: String,
    /// Of the response.
    pub(crate) status: u16,
    /// Of the response, if it has one.
    pub(crate) code: Option<String>,
    /// Of the response, if it has one.
    pub(crate) reason: Option<String>,
    /// The user ID that was sent to Amplitude.
    pub(crate) user: Option<String>,
    /// The revenue that was sent to Amplitude, with its currency.
    pub(crate) revenue: Option<String>,
    /// Amplitude already had the event.
    pub(crate) repeat: bool,
    /// Until the response.
    pub(crate) milliseconds: f64,
}

/// A complete delivery.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) summary: Summary,
    pub(crate) stripe: Sent,
    /// The body of the response.
    pub(crate) answer: String,
    /// With Amplitude, one per attempt.
    pub(crate) exchanges: Vec<Exchange>,
    /// From Stripe's API, in the order in which they were needed.
    pub(crate) reads: Vec<Read>,
}

/// Stripe's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) path: String,
    /// Stripe's own headers, with the signature masked.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Entry {
    /// Truncates a request that is not a signed event, because strangers may send any number of any size.
    pub(crate) fn truncate_unsigned(&mut self) {
        if self.summary.event.is_some() {
            return;
        }
        let Self { summary, stripe: Sent { path, headers, body }, .. } = self;
        headers.truncate(UNSIGNED_HEADERS);
        let values = headers.iter_mut().map(|(_, value)| value);
        for text in values.chain([path, &mut summary.project]) {
            *text = text.chars().take(UNSIGNED_TEXT_CHARACTERS).collect();
        }
        let length = body.len();
        if length > UNSIGNED_BODY_BYTES {
            // Hidden first, while the JSON is complete.
            *body = summary.project.parse().map(|project| hide(body, &project).into_bytes()).unwrap_or_default();
            body.truncate(UNSIGNED_BODY_BYTES);
            body.extend(format!("\n… (the first {UNSIGNED_BODY_BYTES} of {length} bytes)").into_bytes());
        }
    }
}

/// Which deliveries to list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Filter {
    /// An exact match.
    outcome: String,
    /// A part of the type, ignoring case.
    #[serde(rename = "type")]
    event_type: String,
    /// A part of the user ID, ignoring case.
    user: String,
    /// Only smaller numbers.
    before: Option<u64>,
}

/// All deliveries.
#[derive(Debug)]
pub(crate) struct Log(Mutex<Connection>);

impl Log {
    /// Opens this file, which is created if missing, or else a temporary database.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn open(file: Option<&Path>) -> Result<Self, String> {
        let name = file.map_or("the temporary database".to_owned(), |file| file.display().to_string());
        let path = file.map(reserve).transpose().map_err(|error| format!("{name}: {error}"))?;
        let failed = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy) => format!("{name} is in use by another `serve`; name another file"),
            _ => format!("{name} is not a file of deliveries: {error}; name another file, which is created if missing"),
        };
        // SQLite treats an empty name as a temporary file. The flags allow no URI, and a path is never `:memory:`.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path.unwrap_or_default(), flags).map_err(failed)?;
        match prepare(&connection).map_err(failed)? {
            (APPLICATION, VERSION) => Ok(Self(Mutex::new(connection))),
            (APPLICATION, version) => Err(format!(
                "{name} was written by another version of stripe-amplitude-cli (format {version}; expected {VERSION}); name another file"
            )),
            _ => Err(format!("{name} is a database of another program; name another file")),
        }
    }

    /// The number of the last delivery, or 0.
    ///
    /// # Errors
    /// If the database fails; the same for all methods below.
    pub(crate) fn last(&self) -> rusqlite::Result<u64> {
        self.connection().query_row("select coalesce(max(number), 0) from delivery", [], |row| row.get(0))
    }

    /// Adds a delivery.
    pub(crate) fn add(&self, entry: &Entry) -> rusqlite::Result<()> {
        let Entry { summary, stripe, answer, exchanges, reads } = entry;
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "insert into delivery values (:number, :received, :project, :event, :type, :outcome, :status, :code, :reason,
                :user, :revenue, :repeat, :milliseconds, :path, :headers, :body, :answer, :exchanges, :reads)",
        )?;
        statement.execute(named_params! {
            ":number": summary.number,
            ":received": summary.received,
            ":project": summary.project,
            ":event": summary.event,
            ":type": summary.event_type,
            ":outcome": summary.outcome,
            ":status": summary.status,
            ":code": summary.code,
            ":reason": summary.reason,
            ":user": summary.user,
            ":revenue": summary.revenue,
            ":repeat": summary.repeat,
            ":milliseconds": summary.milliseconds,
            ":path": stripe.path,
            ":headers": json(&stripe.headers),
            ":body": stripe.body,
            ":answer": answer,
            ":exchanges": json(exchanges),
            ":reads": json(reads),
        })?;
        if summary.event.is_none() {
            let mut forget = connection.prepare_cached(
                "delete from delivery where event is null and number <=
                    (select number from delivery where event is null order by number desc limit 1 offset ?)",
            )?;
            forget.execute([MAX_UNSIGNED as u64])?;
        }
        Ok(())
    }

    /// A page of the list, newest first, and whether more exist.
    pub(crate) fn list(&self, filter: &Filter) -> rusqlite::Result<(Vec<Summary>, bool)> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "select * from delivery
             where number < :before
               and (:outcome = '' or outcome = :outcome)
               and instr(lower(coalesce(type, '')), lower(:type)) > 0
               and instr(lower(coalesce(user, '')), lower(:user)) > 0
             order by number desc limit :limit",
        )?;
        let limit = PAGE + 1;
        let rows = statement.query_map(
            named_params! {
                ":before": filter.before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX),
                ":outcome": filter.outcome,
                ":type": filter.event_type,
                ":user": filter.user,
                ":limit": limit as u64,
            },
            summary,
        )?;
        let mut list = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let more = list.len() == limit;
        list.truncate(PAGE);
        Ok((list, more))
    }

    /// One delivery.
    pub(crate) fn find(&self, number: u64) -> rusqlite::Result<Option<Entry>> {
        let Ok(number) = i64::try_from(number) else { return Ok(None) };
        let connection = self.connection();
        let mut statement = connection.prepare_cached("select * from delivery where number = ?")?;
        statement.query_row([number], entry).optional()
    }

    /// Passes each request that the local Amplitude accepted: its time in Unix milliseconds, and its body.
    pub(crate) fn replay(&self, mut take: impl FnMut(u64, &str)) -> rusqlite::Result<()> {
        let connection = self.connection();
        let mut statement = connection.prepare("select * from delivery order by number")?;
        for entry in statement.query_map([], entry)? {
            let Entry { summary, exchanges, .. } = entry?;
            for exchange in exchanges.iter().filter(|exchange| exchange.local && exchange.status == Some(200)) {
                take(summary.received + exchange.after_milliseconds as u64, &exchange.request);
            }
        }
        Ok(())
    }

    /// Passes each signed event: those that were not refused.
    pub(crate) fn signed_events(&self, mut take: impl FnMut(&[u8])) -> rusqlite::Result<()> {
        let connection = self.connection();
        let mut statement =
            connection.prepare("select body from delivery where status in (200, 502) order by number")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            take(row.get_ref(0)?.as_blob()?);
        }
        Ok(())
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // SQLite rolls back what a panic interrupted.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Restricts the file to its owner, because it holds customers' data, and so the files that SQLite creates beside it. They
/// get the permissions of the database, and may already exist if a process crashed. Returns the target of a link, because
/// SQLite creates its files beside the target.
fn reserve(file: &Path) -> std::io::Result<PathBuf> {
    private_file::append(file)?;
    let file = file.canonicalize()?;
    for companion in COMPANIONS {
        let mut path = file.as_os_str().to_owned();
        path.push(companion);
        let path = Path::new(&path);
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_file() => private_file::restrict(&std::fs::File::open(path)?)?,
            Ok(_) => return Err(std::io::Error::other(format!("{} is not a file", path.display()))),
            Err(_) => {}
        }
    }
    Ok(file)
}

/// Creates the table in a new file, and returns the file's application ID and version. Other programs' files are not changed.
fn prepare(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    // Exclusive, because two processes would assign the same numbers.
    connection.busy_timeout(Duration::ZERO)?;
    connection.execute_batch("pragma locking_mode = exclusive")?;
    let is_empty: bool = connection.query_row("select count(*) = 0 from sqlite_schema", [], |row| row.get(0))?;
    if is_empty {
        connection.execute_batch(&format!(
            "begin exclusive; {TABLE} pragma application_id = {APPLICATION}; pragma user_version = {VERSION}; commit"
        ))?;
    }
    let value = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    let found = (value("application_id")?, value("user_version")?);
    if found == (APPLICATION, VERSION) {
        // A delivery is in the file before its response is sent, but may be lost if the machine fails.
        connection.execute_batch("pragma journal_mode = wal; pragma synchronous = normal")?;
        // Takes the lock, so that a second process fails now and not at its first delivery.
        connection.execute_batch(&format!("begin immediate; {INDEX}; commit"))?;
    }
    Ok(found)
}

fn summary(row: &Row<'_>) -> rusqlite::Result<Summary> {
    Ok(Summary {
        number: row.get("number")?,
        received: row.get("received")?,
        project: row.get("project")?,
        event: row.get("event")?,
        event_type: row.get("type")?,
        outcome: row.get("outcome")?,
        status: row.get("status")?,
        code: row.get("code")?,
        reason: row.get("reason")?,
        user: row.get("user")?,
        revenue: row.get("revenue")?,
        repeat: row.get("repeat")?,
        milliseconds: row.get("milliseconds")?,
    })
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let [headers, exchanges, reads]: [String; 3] = [row.get("headers")?, row.get("exchanges")?, row.get("reads")?];
    Ok(Entry {
        summary: summary(row)?,
        stripe: Sent {
            path: row.get("path")?,
            headers: serde_json::from_str(&headers).unwrap_or_default(),
            body: row.get("body")?,
        },
        answer: row.get("answer")?,
        exchanges: serde_json::from_str(&exchanges).unwrap_or_default(),
        reads: serde_json::from_str(&reads).unwrap_or_default(),
    })
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(number: u64, outcome: &str, event_type: &str, user: Option<&str>) -> Entry {
        Entry {
            summary: Summary {
                number,
                received: 1_720_000_000_000 + number,
                project: "demo".to_owned(),
                event: Some(format!("evt_{number}")),
                event_type: Some(event_type.to_owned()),
                outcome: outcome.to_owned(),
                status: 200,
                code: Some("type_not_selected".to_owned()),
                reason: None,
                user: user.map(str::to_owned),
                revenue: Some("20.1 USD".to_owned()),
                repeat: false,
                milliseconds: 1.5,
            },
            stripe: Sent {
                path: "/stripe/demo".to_owned(),
                headers: vec![("User-Agent".to_owned(), "Stripe/1.0".to_owned())],
                body: vec![0xff, b'{'],
            },
            answer: "{}".to_owned(),
            exchanges: [(true, Some(200)), (true, Some(500)), (true, None), (false, Some(200))]
                .map(|(local, status)| Exchange {
                    url: "http://127.0.0.1/2/httpapi".to_owned(),
                    local,
                    after_milliseconds: 2.5,
                    milliseconds: 3.25,
                    request: format!("request {number}"),
                    status,
                    answer: None,
                    problem: None,
                })
                .to_vec(),
            reads: vec![Read {
                path: "/v1/customers/cus_1".to_owned(),
                cached: false,
                after_milliseconds: 0.5,
                milliseconds: 1.25,
                status: Some(200),
                problem: None,
                only_named: false,
                object: Some("{}".to_owned()),
            }],
        }
    }

    fn numbers(log: &Log, filter: Filter) -> Vec<u64> {
        log.list(&filter).unwrap().0.iter().map(|summary| summary.number).collect()
    }

    #[test]
    fn deliveries_are_filtered_newest_first() {
        let log = Log::open(None).unwrap();
        assert_eq!(log.last().unwrap(), 0);
        log.add(&delivery(1, "forwarded", "charge.failed", Some("user_42"))).unwrap();
        log.add(&delivery(2, "refused", "invoice.paid", None)).unwrap();
        log.add(&delivery(3, "forwarded", "invoice.paid", Some("user_7"))).unwrap();
        let all = Filter::default();
        assert_eq!((numbers(&log, all.clone()), log.last().unwrap()), (vec![3, 2, 1], 3));
        assert_eq!(numbers(&log, Filter { outcome: "forwarded".into(), ..all.clone() }), [3, 1]);
        assert_eq!(numbers(&log, Filter { event_type: "invoice".into(), ..all.clone() }), [3, 2]);
        assert_eq!(numbers(&log, Filter { user: "User_4".into(), ..all.clone() }), [1]);
        assert_eq!(numbers(&log, Filter { user: "%".into(), ..all.clone() }), [0; 0]);
        assert_eq!(numbers(&log, Filter { before: Some(2), ..all }), [1]);
    }

    #[test]
    fn pages_are_limited() {
        let log = Log::open(None).unwrap();
        for number in 1..=PAGE as u64 + 1 {
            log.add(&delivery(number, "forwarded", "charge.failed", None)).unwrap();
        }
        let (list, more) = log.list(&Filter::default()).unwrap();
        assert_eq!((list.len(), more), (PAGE, true));
        let (rest, more) = log.list(&Filter { before: Some(2), ..Filter::default() }).unwrap();
        assert_eq!((rest.len(), more), (1, false));
    }

    #[test]
    fn unsigned_deliveries_are_truncated_and_expire() {
        let log = Log::open(None).unwrap();
        let unsigned = |number| {
            let mut unsigned = delivery(number, "refused", "charge.failed", None);
            unsigned.summary.event = None;
            unsigned.stripe.path = format!("{}/stripe/demo", "/p".repeat(30_000));
            unsigned.stripe.headers = vec![("user-agent".to_owned(), "x".repeat(9000)); 100];
            unsigned.stripe.body =
                format!("{{\"client_secret\": \"shown\", \"x\": \"{}\"}}", "x".repeat(9000)).into_bytes();
            unsigned.truncate_unsigned();
            unsigned
        };
        let mut signed = delivery(1, "forwarded", "charge.failed", None);
        signed.stripe.body = vec![b'x'; 1_000_000];
        signed.truncate_unsigned();
        log.add(&signed).unwrap();
        let last = MAX_UNSIGNED as u64 + 11;
        for number in 2..=last {
            log.add(&unsigned(number)).unwrap();
        }
        assert_eq!(log.find(1).unwrap().unwrap().stripe.body.len(), 1_000_000);
        assert!(log.find(11).unwrap().is_none() && log.find(12).unwrap().is_some());
        let Entry { summary, stripe, .. } = log.find(last).unwrap().unwrap();
        let headers: usize = stripe.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let kept = summary.project.len() + stripe.path.len() + headers + stripe.body.len();
        assert!((UNSIGNED_BODY_BYTES..2 * UNSIGNED_BODY_BYTES).contains(&kept), "{kept}");
        let body = String::from_utf8(stripe.body).unwrap();
        assert!(body.ends_with("… (the first 4096 of 9035 bytes)") && !body.contains("shown"));
    }

    #[test]
    fn deliveries_survive_a_restart() {
        let file = std::env::temp_dir().join(format!("stripe-amplitude-log-{}.db", std::process::id()));
        let first = delivery(1, "forwarded", "charge.failed", Some("user_42"));
        let log = Log::open(Some(&file)).unwrap();
        log.add(&first).unwrap();
        drop(log);
        let log = Log::open(Some(&file)).unwrap();
        assert_eq!(log.find(1).unwrap(), Some(first));
        assert_eq!(log.find(2).unwrap(), None);
        let mut replayed = Vec::new();
        log.replay(|time, request| replayed.push((time, request.to_owned()))).unwrap();
        assert_eq!(replayed, [(1_720_000_000_003, "request 1".to_owned())], "only accepted requests are replayed");
        let error = Log::open(Some(&file)).unwrap_err();
        assert!(error.contains("in use by another `serve`"), "{error}");
        drop(log);
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", file.display()));
        }
    }

    #[cfg(unix)]
    #[test]
    fn files_are_restricted_to_their_owner() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deliveries.db");
        let log = Log::open(Some(&file)).unwrap();
        log.add(&delivery(1, "forwarded", "charge.failed", None)).unwrap();
        let names = || std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let open_to_others =
            || names().filter(|path| path.metadata().unwrap().permissions().mode() & 0o077 != 0).collect::<Vec<_>>();
        assert!(names().count() > 1, "SQLite created no file beside it");
        assert_eq!(open_to_others(), [] as [std::path::PathBuf; 0]);
        // As a crashed process of a version without this protection leaves them.
        let left: Vec<_> = names().map(|path| (std::fs::read(&path).unwrap(), path)).collect();
        drop(log);
        // SQLite creates its files beside the target of a link.
        let links = tempfile::tempdir().unwrap();
        let link = links.path().join("link.db");
        symlink(&file, &link).unwrap();
        for name in [&file, &link] {
            for (bytes, path) in &left {
                std::fs::write(path, bytes).unwrap();
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
            }
            let log = Log::open(Some(name)).unwrap();
            assert_eq!((open_to_others(), log.last().unwrap()), (vec![], 1), "{}", name.display());
        }
        symlink("/dev/null", folder.path().join("deliveries.db-journal")).unwrap();
        assert!(Log::open(Some(&file)).unwrap_err().contains("deliveries.db-journal is not a file"));
    }

    #[test]
    fn other_files_are_not_changed() {
        let file = std::env::temp_dir().join(format!("stripe-amplitude-other-{}", std::process::id()));
        std::fs::write(
            &file,
            "some text of the user's, long enough to be taken for a database by its size alone".repeat(9),
        )
        .unwrap();
        let error = Log::open(Some(&file)).unwrap_err();
        assert!(error.contains("is not a file of deliveries") && error.contains("name another file"), "{error}");
        assert!(std::fs::read_to_string(&file).unwrap().starts_with("some text"));
        std::fs::remove_file(file).unwrap();
        assert!(
            Log::open(Some(Path::new("/there/is/no/folder.db"))).unwrap_err().starts_with("/there/is/no/folder.db")
        );
    }
}
