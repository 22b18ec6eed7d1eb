"""Fetch one source package by pip and check its SHA-256.

python fetch_sdist.py NAME VERSION SHA256 ARCHIVE
"""

import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile


def main() -> int:
    name, version, digest, archive = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        # pip knows the index, mirrors and proxies that this machine is set up for.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name]
        subprocess.run([*command, "--dest", folder, f"{name}=={version}"], check=True)
        (fetched,) = pathlib.Path(folder).glob("*.tar.gz")
        found = hashlib.sha256(fetched.read_bytes()).hexdigest()
        if found != digest:
            print(f"{fetched.name}: SHA-256 is {found}, expected {digest}", file=sys.stderr)
            return 1
        target = pathlib.Path(archive)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(fetched, target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
