//! The emulator as a program: parses options, prints its address, and serves.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use aws_emulator::Emulator;
use clap::Parser;
use tokio::net::TcpListener;

const EXAMPLE: &str = "\
Example:
  aws-emulator --queue redelivery &
  export AWS_ENDPOINT_URL=http://127.0.0.1:8093 AWS_REGION=us-east-1
  export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local
  aws ssm put-parameter --type String --name /stripe-amplitude/demo/settings --value '{}'";

/// A local Parameter Store, SQS and STS, as far as stripe-amplitude needs them. Any credentials are accepted.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE, disable_version_flag = true)]
struct Options {
    /// Address to listen on; port 0 picks a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8093")]
    listen: SocketAddr,

    /// A queue to create, with a dead-letter queue named `<queue>-dead-letters` (can be repeated)
    #[arg(long, value_name = "NAME")]
    queue: Vec<String>,
}

/// The number of receives after which a message moves to the dead-letter queue, as in template.yaml.
const MAX_RECEIVE_COUNT: u32 = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads where it listens: it ends quietly, with what a shell says of that.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(141),
        Err(error) => {
            let _ = writeln!(io::stderr(), "aws-emulator: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", options.listen));
    let listener = TcpListener::bind(options.listen).await.map_err(named)?;
    let address = format!("http://{}", listener.local_addr()?);
    let emulator = Emulator::new(&address);
    let mut stdout = io::stdout();
    writeln!(stdout, "aws-emulator listening on {address}")?;
    for name in &options.queue {
        let dead_letters = format!("{name}-dead-letters");
        let dead_letters_url = emulator.create_queue(&dead_letters, None);
        let url = emulator.create_queue(name, Some((&dead_letters, MAX_RECEIVE_COUNT)));
        writeln!(stdout, "{url}\n{dead_letters_url}")?;
    }
    stdout.flush()?;
    emulator.serve(listener).await
}
