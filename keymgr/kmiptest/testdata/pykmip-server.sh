#!/usr/bin/env bash
# Part of lockplate's tests, written for them; no third-party code.
# Starts a real third-party KMIP key server (Debian package python3-pykmip) on
# loopback, with its own CA, mutual TLS and an sqlite store that outlives it.
#
#   pykmip-server.sh DIR PORT [CSR.pem [OUT.crt]]
#
#   DIR   everything lives here: ca.crt ca.key server.crt server.key client.crt
#         client.key server.conf policy/ kmip.db server.log fault ready
#         Made on first use, reused afterwards (so keys and trust survive).
#   PORT  1..65534 to listen on; 0 = only make the certificates and sign, then exit.
#   CSR   a PKCS#10 request to sign for TLS client use (default OUT: DIR/signed.crt).
#
# Runs in the foreground; DIR/ready appears when it listens. TERM or INT stop it at
# once, KILL leaves no child behind. Settings by environment:
#   KMIP_HOST=127.0.0.1   KMIP_LOG=INFO|DEBUG   KMIP_CN=lockplate (generated client)
#   KMIP_SERVER_KEY=ec|rsa  ec: Go's default cipher suites work. rsa: only CBC suites
#                           that Go refuses unless asked for (a good failure test).
#   KMIP_DAYS=30 validity; KMIP_STRICT_EKU=1 also insists on clientAuth in the cert.
#
# Faults, read again from DIR/fault before every request (delete the file = healthy);
# one per line, OP is an operation name such as Create, Get, Activate, or *:
#   refuse            close each new connection before TLS
#   delay OP SECS     wait before handling
#   drop OP           close instead of handling (nothing happened on the server)
#   lose OP           handle, commit, then close without the answer
#   deny OP           answer Operation Failed / Permission Denied
#   missing OP        answer Operation Failed / Item Not Found
#   garble OP         handle, then flip one byte of any key material in the answer
#   times N           the lines above apply N more times, then the file is emptied
# DIR/requests.log gets one line per request: time, client CN, operations, outcome.
set -euo pipefail

[ $# -ge 2 ] || { sed -n '3,35p' "$0" | sed 's/^# \{0,1\}//'; exit 64; }
mkdir -p "$1"
dir=$(cd "$1" && pwd); port=$2; csr=${3:-}; out=${4:-$dir/signed.crt}
host=${KMIP_HOST:-127.0.0.1}; days=${KMIP_DAYS:-30}; cn=${KMIP_CN:-lockplate}
py=${KMIP_PYTHON:-/usr/bin/python3}
umask 077
mkdir -p "$dir/policy"

q() { openssl "$@" 2>>"$dir/openssl.log"; }
newkey() { # kind file
  if [ "$1" = rsa ]; then q genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$2"
  else q genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$2"; fi
}
sign() { # request extensions output
  q x509 -req -in "$1" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -sha256 -days "$days" \
    -set_serial "0x$(openssl rand -hex 12)" -extfile <(printf '%s\n' "$2") -out "$3"
}

if [ ! -s "$dir/ca.crt" ]; then
  newkey ec "$dir/ca.key"
  q req -x509 -new -key "$dir/ca.key" -sha256 -days 3650 -subj "/CN=KMIP test CA" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -out "$dir/ca.crt"
fi
kind=${KMIP_SERVER_KEY:-ec}
if [ ! -s "$dir/server.crt" ] || [ "$(cat "$dir/server.kind" 2>/dev/null)" != "$kind" ]; then
  newkey "$kind" "$dir/server.key"
  q req -new -key "$dir/server.key" -subj "/CN=localhost" -out "$dir/server.csr"
  sign "$dir/server.csr" "basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature,keyEncipherment
extendedKeyUsage=serverAuth
subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1" "$dir/server.crt"
  printf %s "$kind" >"$dir/server.kind"
fi
client_ext="basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=clientAuth"
if [ ! -s "$dir/client.crt" ]; then
  newkey ec "$dir/client.key"
  q req -new -key "$dir/client.key" -subj "/O=test/CN=$cn" -out "$dir/client.csr"
  sign "$dir/client.csr" "$client_ext" "$dir/client.crt"
fi
if [ -n "$csr" ]; then sign "$csr" "$client_ext" "$out"; echo "signed: $out"; fi
[ "$port" = 0 ] && exit 0

"$py" -c 'import kmip' 2>/dev/null || { echo "python3-pykmip is not installed for $py" >&2; exit 69; }
eku=False; [ "${KMIP_STRICT_EKU:-0}" = 1 ] && eku=True
cat >"$dir/server.conf" <<CONF
[server]
hostname=$host
port=$port
certificate_path=$dir/server.crt
key_path=$dir/server.key
ca_path=$dir/ca.crt
auth_suite=TLS1.2
policy_path=$dir/policy
enable_tls_client_auth=$eku
tls_cipher_suites=
logging_level=${KMIP_LOG:-INFO}
database_path=$dir/kmip.db
CONF
rm -f "$dir/ready"

# pykmip_launcher.py keeps the package's own server and only adds: quick stop, no
# orphans, a ready file, a request log, and the fault file.
exec "$py" -W ignore "$(dirname "$(readlink -f "$0")")/pykmip_launcher.py" "$dir"
