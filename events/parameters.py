"""Serves what the function needs on this machine: a Parameter Store with the project `demo`, and an Amplitude.

`make parameters` runs it. Parameter Store is moto's server, Amplitude is our emulator; neither knows anybody outside.
"""

import pathlib
import subprocess
import sys
import time

import boto3
import botocore.exceptions

ADDRESS = "http://127.0.0.1:8092"
# The Region of `sam local`, and of events/watch.env.
REGION = "us-east-1"
PARAMETERS = {
    "/stripe-amplitude/demo/stripe-signing-secret": "whsec_demo",
    "/stripe-amplitude/demo/amplitude-api-key": "demo",
}


def main() -> int:
    moto = pathlib.Path(sys.executable).parent / "moto_server"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([moto, "-H", "127.0.0.1", "-p", "8092"], **quiet)
    try:
        put_parameters(server)
        print(f"Parameter Store with the project `demo` (signing secret whsec_demo) is on {ADDRESS}.", flush=True)
        return subprocess.run(["cargo", "run", "--quiet", "--package", "amplitude-emulator"], check=False).returncode
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        server.wait()


def put_parameters(server: subprocess.Popen) -> None:
    parameter_store = boto3.client(
        "ssm", endpoint_url=ADDRESS, region_name=REGION, aws_access_key_id="local", aws_secret_access_key="local"
    )
    for name, value in PARAMETERS.items():
        for _ in range(100):
            if server.poll() is not None:
                sys.exit(f"moto does not start; is another program on {ADDRESS}?")
            try:
                parameter_store.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)
                break
            except botocore.exceptions.EndpointConnectionError:
                time.sleep(0.1)
        else:
            sys.exit(f"moto does not answer on {ADDRESS}")


if __name__ == "__main__":
    sys.exit(main())
