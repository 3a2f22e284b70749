"""The size of what is deployed: what `sam build` made, zipped as it is uploaded. A larger zip starts later."""

import io
import pathlib
import sys
import zipfile

LARGEST = 3_100_000  # bytes

failed = False
for bootstrap in sorted(pathlib.Path(".aws-sam/build").glob("*/bootstrap")):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        file.write(bootstrap, "bootstrap")
    size = archive.tell()
    print(f"size: {bootstrap.parent.name}: {size:,} bytes zipped")
    if size > LARGEST:
        print(f"size: that is over {LARGEST:,} bytes", file=sys.stderr)
        failed = True
sys.exit(failed)
