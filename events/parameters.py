"""Serves the function's local dependencies: a Parameter Store with the project `demo`, and an Amplitude.

`make parameters` runs it. moto stands in for Parameter Store, and our emulator for Amplitude; neither calls other hosts.

The argument is the address to listen on, by default 127.0.0.1. `docker` means the address at which only this machine's
containers on Linux can reach it.
"""

import ipaddress
import pathlib
import signal
import subprocess
import sys
import time

import boto3
import botocore.exceptions

# The Region of `sam local`, and of events/watch.env.
REGION = "us-east-1"
PARAMETERS = {
    "/stripe-amplitude/demo/stripe-signing-secret": "whsec_demo",
    "/stripe-amplitude/demo/amplitude-api-key": "demo",
    # The samples are from 2024.
    "/stripe-amplitude/demo/settings": '{"max_age_days": 0}',
}


def main() -> int:
    # Ends moto on every exit.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
    if address == "docker":
        # The first address of the bridge's network is this machine's; only newer engines report it.
        subnet = ["docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}"]
        address = str(ipaddress.ip_network(subprocess.check_output(subnet, text=True).strip())[1])
    moto = pathlib.Path(sys.executable).parent / "moto_server"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([moto, "-H", address, "-p", "8092"], **quiet)
    try:
        url = f"http://{address}:8092"
        put_parameters(server, url)
        print(f"Parameter Store with the project `demo` (signing secret whsec_demo) is on {url}.", flush=True)
        emulator = ["cargo", "run", "--quiet", "--package", "amplitude-emulator", "--", "--listen", f"{address}:8091"]
        return subprocess.run(emulator, check=False).returncode
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        server.wait()


def put_parameters(server: subprocess.Popen, url: str) -> None:
    parameter_store = boto3.client(
        "ssm", endpoint_url=url, region_name=REGION, aws_access_key_id="local", aws_secret_access_key="local"
    )
    for name, value in PARAMETERS.items():
        for _ in range(100):
            if server.poll() is not None:
                sys.exit(f"moto did not start; is another program listening on {url}?")
            try:
                parameter_store.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)
                break
            except botocore.exceptions.EndpointConnectionError:
                time.sleep(0.1)
        else:
            sys.exit(f"moto did not respond on {url}")


if __name__ == "__main__":
    sys.exit(main())
