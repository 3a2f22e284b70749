"""Checks the size of the deployment: the output of `sam build`, zipped as for upload. A larger zip starts later."""

import io
import pathlib
import sys
import zipfile

MAX_BYTES = 3_100_000  # bytes

failed = False
for bootstrap in sorted(pathlib.Path(".aws-sam/build").glob("*/bootstrap")):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        file.write(bootstrap, "bootstrap")
    size = archive.tell()
    print(f"size: {bootstrap.parent.name}: {size:,} bytes zipped")
    if size > MAX_BYTES:
        print(f"size: expected at most {MAX_BYTES:,} bytes", file=sys.stderr)
        failed = True
sys.exit(failed)
