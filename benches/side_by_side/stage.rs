//! Everything around a contestant, and a contestant on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::amplitude::{self, Amplitude};
use crate::aws::{self, Aws, REGION};
use crate::contestant::{Contestant, Kind};
use crate::delivery::{Deliveries, Size};
use crate::process::{Process, cpu_of_thread};
use crate::program::scratch;
use crate::runtime_api::{Invocations, RuntimeApi};
use crate::server;
use crate::share::Share;

/// The name of the thread of all runtime APIs, which also makes and signs what they hand out.
const THREAD: &str = "runtime-api";

/// How late Amplitude answers where it is not at once.
pub const DELAY: Duration = Duration::from_millis(100);

pub struct Stage {
    /// Answers at once.
    pub prompt: Amplitude,
    /// Answers after [`DELAY`].
    pub late: Amplitude,
    pub aws: Aws,
    /// Those who are not there, and why.
    pub missing: Vec<String>,
    node: Option<Contestant>,
    python: Option<Contestant>,
    runtime_api: Handle,
    /// The file of the certificate to trust.
    authority: PathBuf,
}

/// A contestant that runs.
pub struct Running {
    pub process: Process,
    pub api: RuntimeApi,
}

/// What share of a core each one takes, together with the contestant.
#[derive(Clone, Copy, Debug)]
pub struct Busy {
    pub contestant: f64,
    pub runtime_api: f64,
    pub amplitude: f64,
    pub aws: f64,
}

impl Stage {
    pub fn build() -> Self {
        let (authority, tls) = amplitude_emulator::tls::self_signed(&[]).unwrap();
        let file = scratch().join("side-by-side-authority.pem");
        std::fs::write(&file, authority).unwrap();
        let amplitude = server::thread(amplitude::THREAD);
        let (node, python) = (Contestant::node(), Contestant::python());
        Self {
            prompt: Amplitude::start(&amplitude, Arc::clone(&tls), Duration::ZERO),
            late: Amplitude::start(&amplitude, Arc::clone(&tls), DELAY),
            aws: Aws::start(server::thread(aws::THREAD), tls),
            missing: [&node, &python].into_iter().filter_map(|peer| peer.as_ref().err().cloned()).collect(),
            node: node.ok(),
            python: python.ok(),
            runtime_api: server::thread(THREAD),
            authority: file,
        }
    }

    /// The peers that are there.
    pub fn peers(&self) -> Vec<Contestant> {
        [&self.node, &self.python].into_iter().flatten().cloned().collect()
    }

    /// Hello, the function, and the peers that are there.
    pub fn all(&self) -> Vec<Contestant> {
        [vec![Contestant::hello(), Contestant::function()], self.peers()].concat()
    }

    /// Starts a contestant for deliveries of this size.
    pub fn start(&self, contestant: &Contestant, amplitude: &Amplitude, size: Size, share: Option<&Share>) -> Running {
        self.start_with(contestant, amplitude, Arc::new(Deliveries::new(size)), share)
    }

    pub fn start_with(
        &self,
        contestant: &Contestant,
        amplitude: &Amplitude,
        invocations: Arc<dyn Invocations>,
        share: Option<&Share>,
    ) -> Running {
        let api = RuntimeApi::start(&self.runtime_api, invocations);
        let url = if contestant.kind == Kind::Redelivery { amplitude.batch_url() } else { amplitude.url() };
        let authority = self.authority.to_str().unwrap();
        // What Lambda sets, as its documentation of the runtime's environment variables has it; and the wiring.
        let variables = [
            ("_HANDLER", "handler.handler"),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/bench"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "2024/07/26/[$LATEST]0123456789abcdef"),
            ("AWS_LAMBDA_RUNTIME_API", &api.address.to_string()),
            ("AWS_REGION", REGION),
            ("AWS_SECRET_ACCESS_KEY", "aws-secret-of-the-bench"),
            ("AWS_SESSION_TOKEN", "aws-token-of-the-bench"),
            ("HOME", "/tmp"),
            ("LANG", "en_US.UTF-8"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("TZ", ":UTC"),
            ("AMPLITUDE_URL", &url),
            ("AWS_ENDPOINT_URL_SQS", &self.aws.url),
            ("AWS_ENDPOINT_URL_SSM", &self.aws.url),
            // How each of them is told to trust it: ours; Node.js; requests and botocore.
            ("EXTRA_CA_FILE", authority),
            ("NODE_EXTRA_CA_CERTS", authority),
            ("REQUESTS_CA_BUNDLE", authority),
        ];
        let of_the_contestant = contestant.variables.iter().map(|(name, value)| (*name, &**value));
        let variables = variables.into_iter().chain(of_the_contestant);
        let variables: Vec<_> = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let log = scratch().join(format!("side-by-side-{}.log", contestant.name));
        Running { process: Process::start(&contestant.command, &variables, share, &log), api }
    }

    /// Supplies as much as is taken for so long, after a while to warm up. Gives the answers per second, and who was how
    /// busy.
    pub fn press(&self, running: &Running, warm_up: Duration, time: Duration) -> (f64, Busy) {
        running.api.supply(usize::MAX / 2);
        std::thread::sleep(warm_up);
        let used = || {
            let ours = [THREAD, amplitude::THREAD, aws::THREAD].map(cpu_of_thread);
            (Instant::now(), running.process.cpu(), ours)
        };
        let (from, process_before, ours_before) = used();
        std::thread::sleep(time);
        let (to, process, ours) = used();
        let answered = running.api.drain();
        let count = answered.iter().filter(|answered| (from..to).contains(&answered.answered)).count();
        let seconds = (to - from).as_secs_f64();
        let share = |after: Duration, before: Duration| (after - before).as_secs_f64() / seconds;
        let [runtime_api, amplitude, aws] = [0, 1, 2].map(|thread| share(ours[thread], ours_before[thread]));
        (count as f64 / seconds, Busy { contestant: share(process, process_before), runtime_api, amplitude, aws })
    }
}
