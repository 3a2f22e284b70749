//! Programs from `.venv` that the tests share: each runs once, until the test process ends.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The path of a program in `.venv`.
pub fn installed(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin").join(name);
    assert!(path.exists(), ".venv/bin/{name} is missing: run `make test`, which installs what the tests need");
    path
}

/// A directory for files of the tests.
pub fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// A server that listens. Whoever holds it keeps it alive.
pub struct Server {
    pub address: SocketAddr,
    /// A shell that kills the server when its standard input ends: so the server goes with this process, however this
    /// process ends. Statics are never dropped, so there is no other moment to do it.
    _shell: Child,
}

impl Server {
    /// Starts `.venv/bin/{name}` in a directory; `arguments` gets the port. Returns when it listens.
    pub fn start(name: &str, directory: &Path, arguments: impl Fn(String) -> Vec<String>) -> Self {
        let mut command = Command::new("sh");
        command.current_dir(directory);
        Self::start_in(command, name, &installed(name), arguments)
    }

    /// Starts a program by a shell whose directory and environment are prepared. `name` is for its log.
    pub fn start_in(mut shell: Command, name: &str, program: &Path, arguments: impl Fn(String) -> Vec<String>) -> Self {
        let address = free_address();
        let log = log_of(name);
        let file = std::fs::File::create(&log).unwrap();
        let mut shell = shell
            .args(["-c", r#""$@" & server=$!; read _; kill $server"#, "sh"])
            .arg(program)
            .args(arguments(address.port().to_string()))
            .stdin(Stdio::piped())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                drop(shell.stdin.take());
                panic!("{name} does not listen; its output is in {}", log.display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { address, _shell: shell }
    }
}

/// The file of what a server writes.
pub fn log_of(name: &str) -> PathBuf {
    scratch().join(format!("{name}.log"))
}

/// An address on which nobody listens.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
