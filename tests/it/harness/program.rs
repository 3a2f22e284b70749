//! Programs from `.venv` that the tests share. Each is started once and runs until the test process ends.

use std::fs::File;
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

/// A directory for the tests' files.
pub fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// A listening server, which runs as long as this value exists.
pub struct Server {
    pub address: SocketAddr,
    /// A shell that kills the server when its standard input closes. The server therefore ends with this process,
    /// however it ends. Dropping the value would not suffice, because statics are never dropped.
    _shell: Child,
}

impl Server {
    /// Starts `.venv/bin/{name}` in a directory and waits until it listens. `arguments` receives the port.
    pub fn start(name: &str, directory: &Path, arguments: impl Fn(String) -> Vec<String>) -> Self {
        let shell = || {
            let mut shell = Command::new("sh");
            shell.current_dir(directory);
            shell
        };
        Self::start_in(shell, name, &installed(name), arguments)
    }

    /// Starts a program through a prepared shell. `name` determines its log file.
    pub fn start_in(
        shell: impl Fn() -> Command,
        name: &str,
        program: &Path,
        arguments: impl Fn(String) -> Vec<String>,
    ) -> Self {
        let log = log_of(name);
        let deadline = Instant::now() + Duration::from_secs(60);
        // The server exits if another process has taken its port in the meantime.
        while Instant::now() < deadline {
            let address = free_address();
            let file = File::create(&log).unwrap();
            let mut shell = spawn(shell(), program, arguments(address.port().to_string()), file);
            while Instant::now() < deadline && shell.try_wait().unwrap().is_none() {
                if TcpStream::connect(address).is_ok() {
                    return Self { address, _shell: shell };
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            drop(shell.stdin.take());
        }
        panic!("{name} did not start listening; see its output in {}", log.display());
    }
}

fn spawn(mut shell: Command, program: &Path, arguments: Vec<String>, log: File) -> Child {
    // Background processes have no standard input, hence file descriptor 3.
    let script = r#"exec 3<&0; "$@" & server=$!; { read _ <&3; kill $server; } & wait $server"#;
    shell
        .args(["-c", script, "sh"])
        .arg(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// The file with a server's output.
pub fn log_of(name: &str) -> PathBuf {
    scratch().join(format!("{name}.log"))
}

/// A free address.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
