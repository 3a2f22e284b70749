//! The contestants.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::scratch;

/// A program with the function's duties, or hello, which does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contestant {
    pub name: &'static str,
    pub kind: Kind,
    pub command: Vec<String>,
    /// Its variables in addition to Lambda's.
    pub variables: Vec<(&'static str, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Hello,
    Function,
    Redelivery,
    Node,
    Python,
}

impl Contestant {
    fn new(name: &'static str, kind: Kind, command: Vec<String>) -> Self {
        Self { name, kind, command, variables: Vec::new() }
    }

    pub fn hello() -> Self {
        Self::new("hello", Kind::Hello, vec![built("hello")])
    }

    pub fn function() -> Self {
        Self::new("stripe-amplitude", Kind::Function, vec![built("stripe-amplitude")])
    }

    pub fn redelivery() -> Self {
        Self::new("redelivery", Kind::Redelivery, vec![built("redelivery")])
    }

    /// Adds a variable.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Changes the name.
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// # Errors
    /// If a part is missing; the text says which.
    pub fn node() -> Result<Self, String> {
        let node = which("node").ok_or("Node.js is needed for its peer; skipped")?;
        let bundle = node_bundle();
        if !bundle.exists() {
            return Err(
                "the peer in JavaScript is not bundled, which `make bench` does where there is npm; skipped".into()
            );
        }
        let runtime = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/node/runtime.mjs");
        let command = vec![node, runtime.to_owned(), text(&bundle)];
        Ok(Self::new("Node.js", Kind::Node, command))
    }

    /// # Errors
    /// If a part is missing; the text says which.
    pub fn python() -> Result<Self, String> {
        let python = python_environment().join("bin/python");
        if !python.exists() {
            return Err("the peer in Python is not installed, which `make bench` does; skipped".into());
        }
        let command = vec![text(&python), "-m".to_owned(), "awslambdaric".to_owned(), "handler.handler".to_owned()];
        let handler = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/python");
        Ok(Self::new("Python", Kind::Python, command).with("PYTHONPATH", handler))
    }
}

/// The peer in JavaScript, bundled by esbuild.
pub fn node_bundle() -> PathBuf {
    target().join("bench/node/index.js")
}

/// The packages of the peer in Python.
pub fn python_environment() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv-bench")
}

/// The programs that Cargo has built.
pub fn target() -> PathBuf {
    // They are next to Cargo's directory for test files.
    scratch().parent().unwrap().to_owned()
}

fn built(name: &str) -> String {
    let path = target().join("release").join(name);
    assert!(path.exists(), "{} is missing: run `make bench`, which builds it", path.display());
    text(&path)
}

/// The path of a program on `PATH`.
pub fn which(program: &str) -> Option<String> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|path| path.join(program)).find(|path| path.exists()).map(|path| text(&path))
}

/// The first line of a command's output, such as its version.
pub fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.lines().next()?.trim().to_owned())
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
