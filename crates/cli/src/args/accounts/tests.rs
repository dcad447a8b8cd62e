//! Which lines of account commands are understood.

use super::*;
use crate::args::{Args, Command};
use clap::Parser;
use proptest::prelude::*;

fn parse(line: &str) -> Result<Command, clap::Error> {
    Args::try_parse_from(line.split(' ')).map(|args| args.command)
}

#[test]
fn commands_are_read() {
    for line in [
        "wharf login h.example -u ann --password-stdin",
        "wharf login localhost:5000 --plain-http",
        "wharf logout h.example",
        "wharf whoami h.example --json",
        "wharf password h.example",
        "wharf user list h.example",
        "wharf user create h.example ann --email a@b --display-name Ann --no-password",
        "wharf user update h.example ann --disable",
        "wharf user update h.example ann --password-stdin --email a@b",
        "wharf user reset-password h.example ann",
        "wharf user token-list h.example ann",
        "wharf user token-revoke h.example ann id",
        "wharf user reset-two-factor h.example ann --otp 123456",
        "wharf two-factor enable h.example",
        "wharf two-factor disable h.example --otp 123456",
        "wharf two-factor recovery-codes h.example --json",
        "wharf two-factor status h.example",
        "wharf two-factor passkeys h.example --json",
        "wharf two-factor remove-passkey h.example 0123456789abcdef --otp 123456",
        "wharf audit search h.example --project team/app --from 24h --until 2027-01-31 --actor ann --action pull",
        "wharf audit search h.example --outcome denied --address 192.0.2.7 --limit 5000 --oldest-first --json",
        "wharf audit export h.example --format syslog --repository team/app --digest sha256:ab --text x",
        "wharf audit export h.example --json --request r",
        "wharf audit verify h.example --json",
        "wharf group create h.example cn=ops,dc=x --external cn=ops",
        "wharf group add h.example ops ann",
        "wharf role define h.example puller --action pull --action push",
        "wharf project create h.example team/app --public=inherit --inherit-roles=false",
        "wharf project update h.example team --create-on-push true",
        "wharf member list h.example --project team",
        "wharf member add h.example --project team user:ann developer",
        "wharf robot create h.example ci --project team --allow team=pull,push --allow team/x=pull --expires 90d",
        "wharf robot rotate h.example ci --overlap 24h",
        "wharf robot update h.example ci --enable",
        "wharf token create h.example --label laptop --allow *=pull",
        "wharf token revoke h.example id",
        "wharf secret k8s h.example --project team ci --rotate --namespace apps --name pull",
        "wharf secret docker h.example ci --secret-stdin",
        "wharf secret jenkins h.example ci --create --name registry",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn wrong_arguments_are_refused() {
    for line in [
        "wharf login",
        "wharf login http://h.example",
        "wharf login h.example --password-stdin",
        "wharf user",
        "wharf user show h.example",
        "wharf user create h.example ann --no-password --password-stdin",
        "wharf user update h.example ann",
        "wharf user update h.example ann --disable --enable",
        "wharf two-factor",
        "wharf two-factor enable",
        "wharf two-factor disable h.example --otp",
        "wharf audit search h.example --from yesterday",
        "wharf audit search h.example --outcome good",
        "wharf audit search h.example --limit 0",
        "wharf audit search h.example --limit 100001",
        "wharf audit search h.example --format jsonl",
        "wharf audit export h.example",
        "wharf audit export h.example --format xml",
        "wharf audit export h.example --format syslog --json",
        "wharf audit export h.example --format jsonl --limit 5",
        "wharf role define h.example r",
        "wharf project create h.example Team",
        "wharf project update h.example team",
        "wharf project create h.example team --public maybe",
        "wharf member add h.example ann developer",
        "wharf member add h.example robot:ci developer",
        "wharf robot update h.example ci",
        "wharf robot create h.example ci --allow team",
        "wharf robot create h.example ci --expires soon",
        "wharf token create h.example",
        "wharf secret k8s h.example ci",
        "wharf secret k8s h.example ci --rotate --create",
        "wharf secret k8s h.example ci --rotate --name Big",
        "wharf secret docker h.example ci --rotate --namespace x",
    ] {
        let code = parse(line).map(|_| ()).unwrap_err().exit_code();
        assert_eq!(code, 2, "{line}");
    }
}

#[test]
fn permissions_are_read() {
    let check = |text: &str, expect: Option<(Option<&str>, &[&str])>| {
        let parsed = parse_allow(text).ok();
        let expect = expect.map(|(project, actions)| Allow {
            project: project.map(|name| name.parse().unwrap()),
            actions: actions.iter().map(ToString::to_string).collect(),
        });
        assert_eq!(parsed, expect, "{text}");
    };
    check("team=pull,push", Some((Some("team"), &["pull", "push"])));
    check("team/app=tag.delete", Some((Some("team/app"), &["tag.delete"])));
    check("*=pull", Some((None, &["pull"])));
    for bad in ["", "team", "team=", "=pull", "team=pull,", "Team=pull", "a*=pull"] {
        check(bad, None);
    }
}

#[test]
fn whether_is_said_in_three_ways() {
    let check = |line: &str, expect: Option<Option<bool>>| {
        let Command::Project(ProjectCommand::Create(flags)) = parse(line).unwrap() else {
            panic!("another command");
        };
        assert_eq!(flags.settings.public.map(Inheritable::value), expect, "{line}");
    };
    check("wharf project create h.example a", None);
    check("wharf project create h.example a --public=true", Some(Some(true)));
    check("wharf project create h.example a --public=false", Some(Some(false)));
    check("wharf project create h.example a --public=inherit", Some(None));
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        parse_allow(&text).ok();
        parse_principal(&text).ok();
        parse_label(&text).ok();
    }
}
