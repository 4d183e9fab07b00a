use crate::program::offhook;

#[test]
fn an_unknown_flag_is_reported_with_a_suggestion_and_exits_with_2() {
    for arguments in [&["serve", "--listn", "1"][..], &["--listn", "1"]] {
        let ended = offhook(arguments).run();
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("'--listen'"), "{}", ended.stderr);
    }
}

#[test]
fn an_unknown_command_is_reported_and_exits_with_2() {
    let ended = offhook(&["serv"]).run();
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("serve"), "{}", ended.stderr);
}

#[test]
fn every_setting_is_in_the_long_help_and_the_main_ones_in_the_short() {
    let long = offhook(&["serve", "--help"]).run().stdout;
    let short = offhook(&["serve", "-h"]).run().stdout;
    for setting in offhook_server::config::settings() {
        let flag = format!("--{}", setting.flag());
        assert!(
            long.contains(&flag) && long.contains(&setting.variable()),
            "{flag}"
        );
    }
    assert!(short.contains("--listen") && short.contains("--tls-cert"));
    assert!(!short.contains("--limits-flood"));
}

#[test]
fn piped_help_has_examples_and_no_colours() {
    for arguments in [&["--help"][..], &["serve", "--help"], &["config", "--help"]] {
        let ended = offhook(arguments).run();
        assert_eq!(ended.code, Some(0));
        assert!(ended.stdout.contains("Examples:"), "{}", ended.stdout);
        assert!(!ended.stdout.contains('\u{1b}'));
    }
}

#[test]
fn colours_can_be_requested() {
    let ended = offhook(&["config", "--drain", "soon"])
        .env("CLICOLOR_FORCE", "1")
        .run();
    assert!(ended.stderr.contains("\u{1b}["), "{}", ended.stderr);
    let ended = offhook(&["config", "--drain", "soon"])
        .env("NO_COLOR", "1")
        .run();
    assert!(!ended.stderr.contains('\u{1b}'), "{}", ended.stderr);
}

#[test]
fn completions_know_the_settings_in_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ended = offhook(&["completions", shell]).run();
        assert_eq!(ended.code, Some(0));
        assert!(ended.stdout.contains("keepalive-interval"), "{shell}");
    }
}

#[test]
fn there_are_manual_pages_for_the_program_and_its_commands() {
    let page = offhook(&["man"]).run().stdout;
    assert!(page.contains(".SH NAME\noffhook"), "{page}");
    let page = offhook(&["man", "serve"]).run().stdout;
    assert!(page.contains("OFFHOOK_KEEPALIVE_INTERVAL"), "{page}");
    assert_eq!(offhook(&["man", "swerve"]).run().code, Some(2));
}
