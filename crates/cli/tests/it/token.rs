//! `offhook token`, and `offhook serve --dev`.

use crate::program::offhook;

const SECRET: &str = "a secret of thirty-two bytes....";

#[test]
fn a_created_token_has_the_requested_claims() {
    let arguments = [
        "token",
        "ann",
        "--grant",
        "publish+subscribe chat/*",
        "--audience",
        "me",
        "--kid",
        "k",
    ];
    let made = offhook(&arguments)
        .env("OFFHOOK_TOKEN_SECRET", SECRET)
        .run();
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let shown = offhook(&["token", "--inspect", made.stdout.trim()])
        .run()
        .stdout;
    for part in [
        "\"sub\": \"ann\"",
        "\"chat/*\": \"publish+subscribe\"",
        "\"aud\": \"me\"",
        "\"kid\": \"k\"",
        "not verified",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn errors_about_missing_or_invalid_arguments_do_not_show_the_secret() {
    let nothing = offhook(&["token", "ann"]).run();
    assert!(
        nothing.code == Some(2) && nothing.stderr.contains("OFFHOOK_TOKEN_SECRET"),
        "{}",
        nothing.stderr
    );
    let short = offhook(&["token", "ann"])
        .env("OFFHOOK_TOKEN_SECRET", "short secret")
        .run();
    assert!(
        short.stderr.contains("at least 32") && !short.stderr.contains("short secret"),
        "{}",
        short.stderr
    );
    let grant = offhook(&["token", "ann", "--grant", "fly *"])
        .env("OFFHOOK_TOKEN_SECRET", SECRET)
        .run();
    assert!(grant.stderr.contains("not a verb"), "{}", grant.stderr);
    assert_eq!(
        offhook(&["token", "--inspect", "nonsense"]).run().code,
        Some(2)
    );
}

#[test]
fn a_created_api_key_is_printed_with_its_entry_for_the_server() {
    let made = offhook(&["token", "--api-key"]).run().stdout;
    let key = made
        .split_whitespace()
        .find(|word| word.starts_with("ohk_"))
        .expect("a key");
    let entry = made
        .lines()
        .find(|line| line.contains("sha256:"))
        .expect("an entry");
    let file = format!("[api]\n{}\n", entry.trim());
    let config = offhook(&["config"]).file("offhook.toml", file).run();
    assert_eq!(config.code, Some(0), "{}", config.stderr);
    assert!(
        !config.stdout.contains(key) && !config.stdout.contains("sha256"),
        "{}",
        config.stdout
    );
}

#[test]
fn serve_dev_prints_a_key_with_a_command_to_try() {
    let mut server = offhook(&["serve", "--dev", "--in-memory", "--listen", "0"]).start();
    let line = server.line("curl");
    assert!(
        line.contains("/api/v1/publish") && line.contains("Bearer ohk_"),
        "{line}"
    );
}
