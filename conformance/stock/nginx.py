"""nginx in front of our server, configured as usual: HTTP/1.1 Upgrade, with and
without TLS.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import installation
from programs import Ours, free_port, run_checks, started
from report import Report

CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{plain};
        listen 127.0.0.1:{tls} ssl;
        ssl_certificate {cert};
        ssl_certificate_key {key};
        location / {{
            proxy_pass http://{behind};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $http_host;
        }}
    }}
}}
"""


def play(ours: Ours, report: Report) -> None:
    nginx = installation.program("nginx", "nginx-light")
    cert, _ = ours.certificate()
    check = ours.example("echo_check")
    with ours.echo_server() as behind, in_front(nginx, ours, behind) as (plain, tls):
        run_checks(report, "in front", [check, f"ws://127.0.0.1:{plain}/", "--deflate"])
        run_checks(report, "in front, TLS", [check, f"wss://127.0.0.1:{tls}/", "--ca", cert, "--deflate"])
        client = [ours.example("echo_client"), f"wss://127.0.0.1:{tls}/", "--ca", cert]
        with started(client) as running:
            running.line("hello")
            report.ok("in front, TLS: the echo_client of the README")


@contextlib.contextmanager
def in_front(nginx: str, ours: Ours, behind: str) -> Iterator[tuple[int, int]]:
    """Runs nginx in front of an address; yields its ports without and with
    TLS.
    """
    folder = ours.scratch / "nginx"
    folder.mkdir()
    cert, key = ours.certificate()
    plain, tls = free_port(), free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(
        CONFIGURATION.format(folder=folder, plain=plain, tls=tls, cert=cert, key=key, behind=behind)
    )
    with started([nginx, "-p", str(folder), "-c", str(configuration), "-e", "stderr"]) as running:
        # The notice is printed once it listens.
        running.line("event method")
        yield plain, tls
