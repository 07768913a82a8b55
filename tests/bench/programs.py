"""Starts the backend and the proxies of the comparison, each in its own folder on free loopback ports.

Every proxy gets one worker on CPU 0, the same certificate, TLS 1.3 and kept-alive backend connections; the
backend is pinned to CPU 1 beside the load generator. Whatever is started here is stopped here, by its pid.
"""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import signin

PROXY_CPU = 0
BACKEND_CPU = 1
GREETING = "forty-two bytes of an unmodified backend.\n"
BIG_BYTES = 1024 * 1024
# What browsers ask for first; the load generators' OpenSSL would ask the others for AES-256.
CIPHER_SUITE = "TLS_AES_128_GCM_SHA256"
USER, VISITOR, PASSWORD = "bench", "visitor", "a long password for one benchmark run"
# For programs that only look whether there is a cookie; as long as the gateway's.
STRANGERS_COOKIE = f"{signin.SESSION_COOKIE}={'x' * 64}"

# What the gateway adds in its profile `compatible`, so that all do the same.
SECURITY_HEADERS = {
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "Content-Security-Policy": "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "X-Permitted-Cross-Domain-Policies": "none",
}


class StartError(Exception):
    """A program did not start, or does not answer as it should."""


class Program:
    """A running program, its folder and its log."""

    def __init__(self, name, folder, cpu, command, port, env=None):
        self.name, self.port, self.log, self.aides = name, port, folder / "output.log", ()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(cpu), *command],
                cwd=folder, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
            )

    @property
    def pid(self):
        """The pid of its first process (taskset becomes the program it starts)."""
        return self.process.pid

    @property
    def pids(self):
        """The first processes of everything that works for its answers."""
        return (self.pid, *(aide.pid for aide in self.aides))

    def wait_for_port(self, seconds=20):
        """Returns once its port answers."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise StartError(f"{self.name} ended with {self.process.returncode}:\n{self.last_lines()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            time.sleep(0.05)
        raise StartError(f"{self.name} does not listen on port {self.port}:\n{self.last_lines()}")

    def last_lines(self):
        """The end of what it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])

    def stop(self):
        """Asks it to end, and ends it if it does not."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Stand:
    """The backend, the certificate and the proxies of one comparison, in one folder."""

    def __init__(self, folder):
        self.folder, self.running = folder, []
        self.certificate, self.key = make_certificate(folder)
        self.backend_port, self.h2c_port = free_port(), free_port()

    def room(self, name):
        """A new folder below ours."""
        folder = self.folder / name
        folder.mkdir()
        return folder

    def start(self, name, folder, cpu, command, port, env=None):
        """Starts a program and waits until it listens."""
        program = Program(name, folder, cpu, command, port, env)
        self.running.append(program)
        return program.wait_for_port()

    def stop(self):
        """Stops everything, the last started first."""
        while self.running:
            self.running.pop().stop()

    def backend(self):
        """An nginx that answers 42 bytes everywhere, and 1 MiB at `/1m.bin`."""
        folder = self.room("backend")
        (folder / "1m.bin").write_bytes(os.urandom(BIG_BYTES))
        config = nginx_config(folder, f"""
    access_log off;
    server {{
        listen 127.0.0.1:{self.backend_port};
        listen 127.0.0.1:{self.h2c_port} http2;
        default_type text/plain;
        location / {{ return 200 "{GREETING.rstrip()}\\n"; }}
        location = /1m.bin {{ root {folder}; }}
    }}""")
        return self.start("backend", folder, BACKEND_CPU, nginx_command(folder, config), self.backend_port)

    def nginx(self):
        """nginx as a proxy: the security headers, an access log, no authentication."""
        return self._nginx("nginx")

    def auth_request(self):
        """The same, but each request is asked about first, at a checker that is an nginx of its own."""
        checker = self.checker()
        proxy = self._nginx("auth-request", upstream=f"""
    upstream checker {{ server 127.0.0.1:{checker.port}; keepalive 128; keepalive_requests 100000000; }}""", question="""
            auth_request /check;
            auth_request_set $who $upstream_http_remote_user;
            proxy_set_header Remote-User $who;""", location="""
        location = /check {
            internal;
            proxy_pass http://checker;
            proxy_http_version 1.1;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header Connection "";
            proxy_set_header X-Original-URI $request_uri;
        }""")
        proxy.aides = (checker,)
        return proxy

    def checker(self):
        """The cheapest checker there is: who sends a session cookie is let in, whatever it holds."""
        folder, port = self.room("checker"), free_port()
        config = nginx_config(folder, f"""
    access_log off;
    map $http_cookie $signed_in {{ default 0; "~(^|; ){signin.SESSION_COOKIE}=." 1; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            if ($signed_in = 0) {{ return 401; }}
            add_header Remote-User {USER};
            return 204;
        }}
    }}""")
        return self.start("checker", folder, PROXY_CPU, nginx_command(folder, config), port)

    def _nginx(self, name, upstream="", question="", location=""):
        folder, port = self.room(name), free_port()
        headers = "\n".join(f'        add_header {name} "{value}" always;' for name, value in SECURITY_HEADERS.items())
        config = nginx_config(folder, f"""
    access_log access.log combined buffer=64k flush=1s;
    upstream backend {{ server 127.0.0.1:{self.backend_port}; keepalive 128; keepalive_requests 100000000; }}{upstream}
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {self.certificate};
        ssl_certificate_key {self.key};
        ssl_protocols TLSv1.3;
        ssl_conf_command Ciphersuites {CIPHER_SUITE};
        server_tokens off;
{headers}
        location / {{{question}
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto https;
        }}{location}
    }}""")
        return self.start(name, folder, PROXY_CPU, nginx_command(folder, config), port)

    def haproxy(self):
        """HAProxy in HTTP mode: the security headers, no log, no authentication."""
        headers = "\n".join(f'    http-response set-header {name} "{value}"' for name, value in SECURITY_HEADERS.items())
        return self._haproxy("haproxy", f"""
    mode http
    option forwardfor
    http-reuse always
    default_backend plain
{headers}
backend plain
    mode http
    http-reuse always
    server one 127.0.0.1:{self.backend_port}""")

    def relay(self):
        """HAProxy in TCP mode: ends TLS and passes bytes on without reading them."""
        return self._haproxy("relay", f"""
    mode tcp
    use_backend h2c if {{ ssl_fc_alpn h2 }}
    default_backend plain
backend plain
    mode tcp
    server one 127.0.0.1:{self.backend_port}
backend h2c
    mode tcp
    server one 127.0.0.1:{self.h2c_port}""")

    def _haproxy(self, name, body):
        folder, port = self.room(name), free_port()
        pem = folder / "pair.pem"
        write_secret(pem, self.certificate.read_text() + self.key.read_text())
        config = folder / "haproxy.cfg"
        config.write_text(f"""global
    nbthread 1
    maxconn 8192
defaults
    timeout connect 5s
    timeout client 75s
    timeout server 60s
frontend tls
    bind 127.0.0.1:{port} ssl crt {pem} alpn h2,http/1.1 ssl-min-ver TLSv1.3 ciphersuites {CIPHER_SUITE}{body}
""")
        return self.start(name, folder, PROXY_CPU, [program("haproxy"), "-db", "-q", "-f", str(config)], port)

    def caddy(self, binary):
        """Caddy as a proxy: the security headers, `X-Forwarded-*`; no log, no authentication."""
        folder, port = self.room("caddy"), free_port()
        config = folder / "Caddyfile"
        config.write_text(caddy_config(port, self.backend_port, self.certificate, self.key))
        words = [str(binary), "run", "--adapter", "caddyfile", "--config", str(config)]
        return self.start("caddy", folder, PROXY_CPU, words, port, {"GOMAXPROCS": "1", "HOME": str(folder)})

    def vestibule(self, binary, name="vestibule", paths=("/",)):
        """The gateway with everything it does: session, policy, identity and security headers, access log, metrics.

        Returns the program and the cookie of a session that was opened through the login page.
        """
        folder, port, admin = self.room(name), free_port(), free_port()
        config = folder / "vestibule.toml"
        routes = "\n".join(route(path) for path in paths)
        config.write_text(gateway_config(port, admin, self.backend_port, self.certificate, self.key) + routes)
        command(folder, [binary, "keys", "rotate", "-c", str(config)])
        for user in (USER, VISITOR):
            command(folder, [binary, "users", "add", "-c", str(config), user], typed=PASSWORD + "\n")
        gateway = self.start(name, folder, PROXY_CPU, [str(binary), "run", "-c", str(config)], port)
        return gateway, signin.session_cookie(port, self.trust(), USER, PASSWORD)

    def trust(self):
        """A TLS context that trusts our certificate and no other."""
        return ssl.create_default_context(cafile=str(self.certificate))


def route(path):
    """A route of the gateway's configuration."""
    return f"""
[[route]]
path = "{path}"
upstream = "backend"
access = "login"
"""


def caddy_config(port, backend, certificate, key):
    """Caddy's configuration; Go takes AES-128 by itself, its suites of TLS 1.3 cannot be chosen."""
    headers = "\n".join(f'\t\t{name} "{value}"' for name, value in SECURITY_HEADERS.items())
    return f"""{{
	admin off
	auto_https off
	servers {{
		protocols h1 h2
	}}
}}
https://localhost:{port} {{
	bind 127.0.0.1
	tls {certificate} {key} {{
		protocols tls1.3
	}}
	header {{
{headers}
	}}
	reverse_proxy 127.0.0.1:{backend} {{
		transport http {{
			keepalive_idle_conns_per_host 128
		}}
	}}
}}
"""


def gateway_config(port, admin, backend, certificate, key):
    """The gateway's configuration without its routes."""
    return f"""[server]
https = ["127.0.0.1:{port}"]
workers = 1
state_dir = "."

[server.limits]
keep_alive = "10m"

[tls]
min_version = "1.3"

[[tls.certificate]]
cert = "{certificate}"
key = "{key}"

[keys]
file = "keys.toml"

[session]
store = "sqlite:sessions.db"

[login.password]
users = "sqlite:users.db"

[[upstream]]
name = "backend"
servers = ["http://127.0.0.1:{backend}"]

[headers]
profile = "compatible"

[admin]
socket = "admin.sock"
listen = "127.0.0.1:{admin}"

[log]
format = "text"
access = true
audit = "audit.log"
"""


def nginx_config(folder, http):
    """A whole nginx configuration around the contents of its `http` block."""
    user = "user root;" if os.geteuid() == 0 else ""
    places = "\n".join(
        f"    {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 8192; }}
http {{
{places}
    sendfile on;
    keepalive_timeout 75s;
    keepalive_requests 100000000;
{http}
}}
"""


def nginx_command(folder, config):
    """Writes the configuration and returns the command that serves it."""
    (folder / "nginx.conf").write_text(config)
    return [program("nginx"), "-p", f"{folder}/", "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf", "-g", "daemon off;"]


def program(name):
    """Where a program is; services are not on everybody's path."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise StartError(f"`{name}` is not installed")
    return found


def command(folder, words, typed=""):
    """Runs a short command to its end."""
    done = subprocess.run(
        [str(word) for word in words], cwd=folder, input=typed, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise StartError(f"`{' '.join(map(str, words))}` ended with {done.returncode}:\n{done.stderr}{done.stdout}")


def make_certificate(folder):
    """A self-signed ECDSA P-256 certificate for localhost."""
    certificate, key = folder / "localhost.pem", folder / "localhost.key"
    write_secret(key, "")
    command(folder, [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256",
        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout", key, "-out", certificate,
    ])
    return certificate, key


def write_secret(path, text):
    """Writes a file that only we can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def free_port():
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(port, trust, path, cookie=None):
    """One GET over TLS: the response and its body."""
    connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=trust)
    try:
        cookies = {"Cookie": cookie} if cookie else {}
        connection.request("GET", path, headers={"User-Agent": signin.USER_AGENT, **cookies})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def check_answers(target, stand, cookie):
    """Refuses a target that does not pass on what the backend says."""
    for path, length in (("/", len(GREETING)), ("/1m.bin", BIG_BYTES)):
        response, body = fetch(target.port, stand.trust(), path, cookie)
        if response.status != 200 or len(body) != length:
            raise StartError(f"{target.name} answers {path} with {response.status} and {len(body)} bytes")
    return response


def check_refuses_strangers(target, stand):
    """Makes sure that a program is really asked to authenticate."""
    response, _ = fetch(target.port, stand.trust(), "/")
    if response.status != 401:
        raise StartError(f"{target.name} answers a request without a session with {response.status}, not 401")


def missing_headers(response):
    """Which of the compared security headers a response lacks, or has with another value."""
    return sorted(name for name, value in SECURITY_HEADERS.items() if response.headers.get_all(name) != [value])


def handshake(target, stand):
    """TLS version, cipher suite and key exchange as the load generators' own TLS library negotiates them."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{target.port}", "-servername", "localhost", "-CAfile", str(stand.certificate), "-alpn", "h2"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=10, check=False,
    )
    lines = [line.strip() for line in done.stdout.splitlines()]
    told = [line for line in lines if line.startswith(("New, ", "Server Temp Key", "ALPN protocol"))]
    return "; ".join(told) or "no handshake"


def version(words):
    """The first line in which a program says its version."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    said = (done.stdout + done.stderr).strip().splitlines()
    return said[0].strip() if said else "unknown"


def repository():
    """The root of this repository."""
    return Path(__file__).resolve().parents[2]
