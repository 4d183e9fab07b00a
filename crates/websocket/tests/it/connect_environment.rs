//! Proxies configured in the environment, with a separate process for each environment.

use std::process::Output;

use tokio::process::Command;

use crate::scripted::{Reply, Server};

/// Set in the inner process: the URL to open.
const INNER: &str = "OFFHOOK_TEST_OPENS";

/// Opens the URL in a process with this environment, and returns the outcome.
async fn opened(url: &str, test: &str, environment: &[(&str, &str)]) -> Output {
    let mut inner = Command::new(std::env::current_exe().unwrap());
    inner.args(["--exact", test, "--nocapture"]);
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        inner.env_remove(name).env_remove(name.to_uppercase());
    }
    inner.env(INNER, url).envs(environment.iter().copied());
    inner.kill_on_drop(true).output().await.unwrap()
}

/// In the inner process: opens the given URL. Returns whether this is the inner process.
async fn is_inner() -> bool {
    let Ok(url) = std::env::var(INNER) else {
        return false;
    };
    match offhook::connect(url).await {
        Ok(_) => println!("opened"),
        Err(error) => println!("error: {error}"),
    }
    true
}

fn said(output: &Output, what: &str) -> bool {
    String::from_utf8_lossy(&output.stdout).contains(what)
}

#[tokio::test]
async fn the_proxy_of_the_environment_is_used_unless_no_proxy_matches_the_host() {
    if is_inner().await {
        return;
    }
    let test = "connect_environment::the_proxy_of_the_environment_is_used_unless_no_proxy_matches_the_host";
    let mut proxy = Server::with([Reply::say("HTTP/1.1 403 No\r\n\r\n").and_close()]).await;
    let proxy_url = format!("http://ada:secret@{}", proxy.address);
    let server = Server::with([Reply::open(), Reply::open()]).await;

    let through = opened(&server.url(), test, &[("HTTP_PROXY", &proxy_url)]).await;
    assert!(
        said(&through, "answers CONNECT with status 403"),
        "{through:?}"
    );
    assert!(!said(&through, "secret"), "{through:?}");
    let head = proxy.request().await;
    assert!(
        head.starts_with(&format!("CONNECT {} ", server.address)),
        "{head}"
    );

    for exempt in [
        [
            ("HTTP_PROXY", proxy_url.as_str()),
            ("NO_PROXY", "127.0.0.0/8"),
        ],
        [
            ("HTTP_PROXY", proxy_url.as_str()),
            ("REQUEST_METHOD", "GET"),
        ],
    ] {
        let direct = opened(&server.url(), test, &exempt).await;
        assert!(said(&direct, "opened"), "{direct:?}");
    }
}

#[cfg(any(feature = "aws-lc", feature = "ring"))]
#[tokio::test]
async fn without_configured_roots_those_of_the_system_are_trusted() {
    use crate::authority::{Authority, serve};

    if is_inner().await {
        return;
    }
    let test = "connect_environment::without_configured_roots_those_of_the_system_are_trusted";
    let authority = Authority::new();
    let acceptor = authority.server("localhost").acceptor(None);
    let (port, _seen) = serve(acceptor, (0..3).map(|_| Reply::open()).collect()).await;
    let url = format!("wss://localhost:{port}/");

    // This variable names the system's roots, as in OpenSSL.
    let roots = std::env::temp_dir().join(format!("offhook-roots-{port}.pem"));
    std::fs::write(&roots, authority.pem()).unwrap();
    let trusting = opened(&url, test, &[("SSL_CERT_FILE", roots.to_str().unwrap())]).await;
    std::fs::write(&roots, Authority::named("a stranger").pem()).unwrap();
    let strange = opened(&url, test, &[("SSL_CERT_FILE", roots.to_str().unwrap())]).await;
    std::fs::write(&roots, "").unwrap();
    let none = opened(&url, test, &[("SSL_CERT_FILE", roots.to_str().unwrap())]).await;
    std::fs::remove_file(&roots).unwrap();

    assert!(said(&trusting, "opened"), "{trusting:?}");
    for distrusting in [strange, none] {
        let expected = "error: cannot set up TLS with localhost";
        assert!(said(&distrusting, expected), "{distrusting:?}");
    }
}
