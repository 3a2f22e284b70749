//! Objects of Stripe's API, for commands that follow references: a server that answers each path with what it is given.

// A helper, like a test, stops where it meets what it does not expect.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
// Each test binary has this module to itself, and uses what it needs of it.
#![allow(dead_code, unreachable_pub)]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

type Answers = HashMap<String, Vec<(u16, Value)>>;

/// Runs until the process ends.
pub struct Objects {
    pub url: String,
    /// The answers by path and query, the first one first; the last one stays.
    answers: Arc<Mutex<Answers>>,
    /// What was asked, with the key.
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Objects {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let objects = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            answers: Arc::default(),
            asked: Arc::default(),
        };
        let (answers, asked) = (Arc::clone(&objects.answers), Arc::clone(&objects.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let Some(request) = lines.next() else { continue };
                let path = request.split(' ').nth(1).unwrap().to_owned();
                let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                let key = head.iter().find_map(|line| line.strip_prefix("authorization: Bearer ")).unwrap_or_default();
                asked.lock().unwrap().push((path.clone(), key.to_owned()));
                let (status, body) = match answers.lock().unwrap().get_mut(&path) {
                    Some(all) if all.len() > 1 => all.remove(0),
                    Some(all) => all[0].clone(),
                    None => (404, json!({"error": {"code": "resource_missing"}})),
                };
                let body = body.to_string();
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        objects
    }

    pub fn answer(&self, path: &str, answers: &[(u16, Value)]) {
        self.answers.lock().unwrap().insert(path.to_owned(), answers.to_vec());
    }

    /// The paths that were asked for, each with the key.
    pub fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }
}
