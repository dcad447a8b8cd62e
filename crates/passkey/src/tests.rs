//! What can be tested without an authenticator. The rest is in the tests of crate `wharf`, with a real browser.

use super::*;

#[test]
fn an_address_must_be_one_that_browsers_take_passkeys_for() {
    let check = |url: &str, expect: Result<(), &'static str>| {
        assert_eq!(RelyingParty::at(url).map(drop), expect.map_err(NoPasskeys), "{url}");
    };
    check("https://registry.example.com", Ok(()));
    check("https://registry.example.com:5000/below", Ok(()));
    check("http://localhost:5000", Ok(()));
    check("http://registry.example.com", Err("browsers take passkeys over TLS only"));
    check("http://localhost.example.com", Err("browsers take passkeys over TLS only"));
    check("https://192.0.2.1", Err("browsers take no passkeys for a host without a name"));
    check("https://[::1]", Err("browsers take no passkeys for a host without a name"));
    check("registry", Err("the public address is no address"));
    check("", Err("the public address is no address"));
}

#[test]
fn a_browser_is_asked_for_what_a_second_factor_needs() {
    let party = RelyingParty::at("https://registry.example.com:5000/below").unwrap();
    let question = party.register(&"ann".parse().unwrap(), [7; 16], &[]).unwrap();
    let options: serde_json::Value = serde_json::from_str(&question.options).unwrap();
    let options = &options["publicKey"];
    assert_eq!(options["rp"]["id"], "registry.example.com");
    assert_eq!(options["user"]["name"], "ann");
    assert_eq!(options["authenticatorSelection"]["userVerification"], "preferred");
    assert_eq!(options["attestation"], "none");
    assert!(options["hints"].is_null() && options["extensions"].is_null(), "{options:#}");
    let other = party.register(&"ann".parse().unwrap(), [7; 16], &[]).unwrap();
    assert_ne!(question.options, other.options, "each challenge is new");
    for answer in ["", "{}", "[]", "null", r#"{"id":"x"}"#] {
        let question = party.register(&"ann".parse().unwrap(), [7; 16], &[]).unwrap();
        assert!(matches!(question.judge.finish(answer), Err(PasskeyError::Refused(_))), "{answer}");
    }
}
