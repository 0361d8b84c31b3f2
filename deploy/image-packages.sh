#!/bin/sh
# deploy/image-packages.sh REQUIREMENTS: make /opt/venv of an image from a hash-pinned lock, and take out of
# it what nothing of ours imports.
set -eu
# the image's own pip installs: none is needed there afterwards
python=$(command -v python3)
"$python" -m venv --without-pip /opt/venv
"$python" -m pip --python /opt/venv/bin/python install --cache-dir /var/cache/pip --require-hashes -r "$1"
cd /opt/venv/lib/python3*/site-packages

# Packages' own tests. Only these: others import theirs.
for package in matplotlib numpy pandas pyarrow scipy sklearn skrub statsmodels; do
    [ ! -d "$package" ] || find "$package" -depth -type d -name tests -exec rm -rf {} +
done
rm -rf onnx/backend/test pyarrow/include
# CatBoost draws with it, in notebooks, and imports it when it does.
rm -rf plotly
# botocore describes four hundred services: here is one, and those that hand out its credentials.
[ ! -d botocore/data ] || find botocore/data -mindepth 1 -maxdepth 1 -type d \
    ! -name s3 ! -name sts ! -name 'sso*' ! -name signin -exec rm -rf {} +
# Litestar makes examples for its schema with it, in English.
[ ! -d faker/providers ] || find faker/providers -mindepth 2 -maxdepth 2 -type d \
    -name '*_*' ! -name 'en_*' ! -name __pycache__ -exec rm -rf {} +
