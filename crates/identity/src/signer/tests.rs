//! Tokens that are good, and everything that could be tried to have another taken for one.

use super::*;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, EncodingKey};
use proptest::prelude::*;

const NOW: u64 = 1_800_000_000;
const HOUR: Duration = Duration::from_hours(1);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(i64::try_from(seconds).unwrap() * 1_000_000)
}

fn key(created: u64) -> SigningKey {
    SigningKey::generate(at(created)).unwrap()
}

fn signer(keys: &[&SigningKey]) -> Signer {
    let keys: Vec<SigningKey> = keys.iter().map(|key| (*key).clone()).collect();
    Signer::new(&keys, HOUR).unwrap()
}

fn claims() -> Claims {
    let entry =
        AccessEntry { kind: "repository".into(), name: "team/app".into(), actions: vec!["pull".into()] };
    Claims {
        iss: "https://hub.example".into(),
        sub: "ada".into(),
        aud: "hub.example".into(),
        exp: NOW + 300,
        nbf: NOW,
        iat: NOW,
        jti: "1".into(),
        uid: "42".into(),
        via: "password".into(),
        factor: String::new(),
        access: vec![entry],
    }
}

fn verify_at(signer: &Signer, token: &str, seconds: u64) -> Result<Claims, TokenError> {
    signer.verify(token, "hub.example", "https://hub.example", at(seconds))
}

fn verify(signer: &Signer, token: &str) -> Result<Claims, TokenError> {
    verify_at(signer, token, NOW)
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token whose header and claims are what the test says, signed with the signer's own key.
fn resigned(signer: &Signer, header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", encoded(header), encoded(claims));
    let encoding = &signer.keys[0].encoding;
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), encoding, Algorithm::ES256).unwrap();
    format!("{message}.{signature}")
}

#[test]
fn what_was_signed_is_read_back() {
    let signer = signer(&[&key(NOW)]);
    let token = signer.sign(&claims()).unwrap();
    assert_eq!(verify(&signer, &token).unwrap(), claims());
    let json = serde_json::to_value(claims()).unwrap();
    assert_eq!(json["access"], json!([{"type": "repository", "name": "team/app", "actions": ["pull"]}]));
}

#[test]
fn a_token_is_valid_for_its_time_give_or_take_five_seconds() {
    let signer = signer(&[&key(NOW)]);
    let token = signer.sign(&claims()).unwrap();
    let check = |seconds, expect: Option<TokenError>| {
        assert_eq!(verify_at(&signer, &token, seconds).err(), expect, "{seconds}");
    };
    check(0, Some(TokenError::NotYetValid));
    check(NOW - 6, Some(TokenError::NotYetValid));
    check(NOW - 5, None);
    check(NOW + 304, None);
    check(NOW + 305, Some(TokenError::Expired));
    check(NOW + 1_000_000, Some(TokenError::Expired));
}

#[test]
fn a_token_is_for_one_audience_of_one_issuer() {
    let signer = signer(&[&key(NOW)]);
    let token = signer.sign(&claims()).unwrap();
    let check = |audience, issuer, expect| {
        assert_eq!(signer.verify(&token, audience, issuer, at(NOW)).err(), expect, "{audience} {issuer}");
    };
    check("hub.example", "https://hub.example", None);
    check("other.example", "https://hub.example", Some(TokenError::Audience));
    check("", "https://hub.example", Some(TokenError::Audience));
    check("hub.example", "https://other.example", Some(TokenError::Issuer));
    check("hub.example", "", Some(TokenError::Issuer));
}

#[test]
fn claims_of_another_form_are_refused_though_signed() {
    let signer = signer(&[&key(NOW)]);
    let header = json!({"alg": "ES256", "kid": signer.keys[0].kid});
    let check = |name: &str, value: Option<Value>, expect: Option<TokenError>| {
        let mut claims = serde_json::to_value(claims()).unwrap();
        let object = claims.as_object_mut().unwrap();
        match value {
            Some(value) => object.insert(name.to_owned(), value),
            None => object.remove(name),
        };
        assert_eq!(verify(&signer, &resigned(&signer, &header, &claims)).err(), expect, "{claims}");
    };
    check("more", Some(json!(1)), None);
    for name in ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "uid", "via", "access"] {
        check(name, None, Some(TokenError::Malformed));
        check(name, Some(Value::Null), Some(TokenError::Malformed));
    }
    check("aud", Some(json!(["hub.example", "other.example"])), Some(TokenError::Malformed));
    check("exp", Some(json!(1e30)), Some(TokenError::Malformed));
    check("exp", Some(json!(-1)), Some(TokenError::Malformed));
    check("exp", Some(json!("2100")), Some(TokenError::Malformed));
    check("exp", Some(json!(u64::MAX)), None);
    check("nbf", Some(json!(u64::MAX)), Some(TokenError::NotYetValid));
}

#[test]
fn a_forged_token_is_refused() {
    let signer = signer(&[&key(NOW)]);
    let token = signer.sign(&claims()).unwrap();
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let check = |token: String, expect| assert_eq!(verify(&signer, &token).unwrap_err(), expect, "{token}");

    let other = encoded(&serde_json::to_value(Claims { sub: "root".into(), ..claims() }).unwrap());
    check(format!("{header}.{other}.{signature}"), TokenError::Signature);
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes[10] ^= 1;
    check(format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(&bytes)), TokenError::Signature);
    // Zero twice, which some libraries take for the signature of anything.
    check(format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode([0; 64])), TokenError::Signature);
    check(format!("{header}.{payload}."), TokenError::Signature);
    check(format!("{header}.{payload}"), TokenError::Malformed);
    check(format!("{header}..{signature}"), TokenError::Signature);

    // Another's key under the name of ours.
    let stranger = ReadyKey::new(&key(NOW)).unwrap();
    let header = Header { kid: Some(signer.keys[0].kid.clone()), ..Header::new(Algorithm::ES256) };
    check(jsonwebtoken::encode(&header, &claims(), &stranger.encoding).unwrap(), TokenError::Signature);
}

#[test]
fn the_algorithm_is_the_keys_and_not_the_tokens() {
    let signer = signer(&[&key(NOW)]);
    let kid = &signer.keys[0].kid;
    let payload = encoded(&serde_json::to_value(claims()).unwrap());
    for none in ["none", "None", "NONE", ""] {
        let header = encoded(&json!({"alg": none, "kid": kid}));
        for signature in ["", "AAAA"] {
            let token = format!("{header}.{payload}.{signature}");
            assert_eq!(verify(&signer, &token).unwrap_err(), TokenError::Malformed, "{none}");
        }
    }
    // The public key, which everybody has, as the secret of an HMAC.
    let jwk = signer.keys[0].jwk();
    let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    for (algorithm, secret) in [
        (Algorithm::HS256, point.clone()),
        (Algorithm::HS384, point.clone()),
        (Algorithm::HS512, point),
        (Algorithm::HS256, jwk.to_string().into_bytes()),
    ] {
        let header = Header { kid: Some(kid.clone()), ..Header::new(algorithm) };
        let token = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(&secret)).unwrap();
        assert_eq!(verify(&signer, &token).unwrap_err(), TokenError::Algorithm);
    }
    for algorithm in ["ES384", "RS256", "PS256", "EdDSA"] {
        let claims = serde_json::to_value(claims()).unwrap();
        let token = resigned(&signer, &json!({"alg": algorithm, "kid": kid}), &claims);
        assert_eq!(verify(&signer, &token).unwrap_err(), TokenError::Algorithm, "{algorithm}");
    }
}

#[test]
fn keys_that_a_token_brings_along_are_not_used() {
    let signer = signer(&[&key(NOW)]);
    let stranger = self::signer(&[&key(NOW)]);
    let claims = serde_json::to_value(claims()).unwrap();
    let kid = &signer.keys[0].kid;
    let check = |by: &Signer, more: Value, expect: Option<TokenError>| {
        let mut header = json!({"alg": "ES256"});
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(verify(&signer, &resigned(by, &header, &claims)).err(), expect, "{header}");
    };
    let jwk = stranger.keys[0].jwk();
    check(&stranger, json!({"jwk": jwk}), Some(TokenError::UnknownKey));
    check(&stranger, json!({"jwk": jwk, "kid": stranger.keys[0].kid}), Some(TokenError::UnknownKey));
    check(&stranger, json!({"jwk": jwk, "kid": kid}), Some(TokenError::Signature));
    check(&stranger, json!({"jku": "https://evil.example/jwks", "kid": kid}), Some(TokenError::Signature));
    check(&stranger, json!({"x5c": ["AAAA"], "kid": kid}), Some(TokenError::Signature));
    check(&stranger, json!({"kid": "../../dev/null"}), Some(TokenError::UnknownKey));
    check(&signer, json!({"kid": kid}), None);
    check(&signer, json!({"kid": kid, "jwk": jwk, "jku": "https://evil.example", "x5c": ["AAAA"]}), None);
    check(&signer, json!({}), Some(TokenError::UnknownKey));
    check(&signer, json!({"kid": kid, "crit": ["exp"]}), Some(TokenError::Malformed));
}

#[test]
fn a_token_has_a_largest_size() {
    let signer = signer(&[&key(NOW)]);
    let many = |count: usize| Claims { access: vec![claims().access[0].clone(); count], ..claims() };
    let token = signer.sign(&many(150)).unwrap();
    assert_eq!(verify(&signer, &token).unwrap(), many(150));
    assert!(matches!(signer.sign(&many(300)), Err(CryptoError::TokenTooLarge(length)) if length > 16_384));
    assert_eq!(verify(&signer, &"a".repeat(16_385)).unwrap_err(), TokenError::TooLarge);
    assert_eq!(verify(&signer, &"a".repeat(16_384)).unwrap_err(), TokenError::Malformed);
}

#[test]
fn no_token_outlives_its_key() {
    let signer = signer(&[&key(NOW)]);
    signer.sign(&Claims { exp: NOW + 3600, ..claims() }).unwrap();
    let error = signer.sign(&Claims { exp: NOW + 3601, ..claims() }).unwrap_err();
    assert!(matches!(error, CryptoError::Sign(_)), "{error}");
}

#[test]
fn keys_take_turns_and_overlap() {
    let (old, new) = (key(NOW), key(NOW + 100));
    let before = signer(&[&old]);
    let after = signer(&[&old, &new]);
    let claims = Claims { exp: NOW + 10_000, iat: NOW + 9_000, ..claims() };
    let (by_old, by_new) = (before.sign(&claims).unwrap(), after.sign(&claims).unwrap());
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    assert_eq!((kid(&by_old), kid(&by_new)), (old.kid().to_owned(), new.kid().to_owned()));
    assert_eq!(verify(&before, &by_new).unwrap_err(), TokenError::UnknownKey);

    // The longest life is an hour, and five minutes more.
    let end = NOW + 100 + 3600 + 300;
    let kids = |signer: &Signer, seconds| {
        let jwks: JwkSet = serde_json::from_value(signer.jwks(at(seconds))).unwrap();
        jwks.keys.into_iter().map(|jwk| jwk.common.key_id.unwrap()).collect::<Vec<_>>()
    };
    for seconds in [NOW, end - 1] {
        verify_at(&after, &by_old, seconds).unwrap();
        verify_at(&after, &by_new, seconds).unwrap();
        assert_eq!(kids(&after, seconds), [new.kid(), old.kid()]);
        assert!(after.retired(at(seconds)).is_empty());
    }
    assert_eq!(verify_at(&after, &by_old, end).unwrap_err(), TokenError::UnknownKey);
    verify_at(&after, &by_new, end).unwrap();
    assert_eq!(kids(&after, end), [new.kid()]);
    assert_eq!(after.retired(at(end)), [old.kid()]);
    verify_at(&before, &by_old, end).unwrap();
}

#[test]
fn a_new_key_is_due_after_ninety_days() {
    let (old, new) = (key(NOW), key(NOW + 80 * 86_400));
    assert!(!signer(&[&old]).due(at(NOW)));
    assert!(!signer(&[&old]).due(at(NOW + 90 * 86_400 - 1)));
    assert!(signer(&[&old]).due(at(NOW + 90 * 86_400)));
    assert!(!signer(&[&new, &old]).due(at(NOW + 90 * 86_400)));
}

#[test]
fn there_must_be_a_key() {
    assert_eq!(Signer::new(&[], HOUR).unwrap_err(), CryptoError::NoKey);
}

#[test]
fn others_can_verify_with_what_is_published() {
    let signer = signer(&[&key(NOW), &key(NOW - 100)]);
    let token = signer.sign(&claims()).unwrap();
    let jwks: JwkSet = serde_json::from_value(signer.jwks(at(NOW))).unwrap();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let decoding = DecodingKey::from_jwk(jwks.find(&kid).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["hub.example"]);
    validation.set_issuer(&["https://hub.example"]);
    validation.validate_exp = false;
    assert_eq!(jsonwebtoken::decode::<Claims>(&token, &decoding, &validation).unwrap().claims, claims());
}

#[test]
fn a_signer_shows_the_names_of_its_keys_only() {
    let key = key(NOW);
    assert_eq!(format!("{:?}", signer(&[&key])), format!("[{:?}]", key.kid()));
}

proptest! {
    #[test]
    fn any_text_is_refused(text in "\\PC{0,60}|[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,90}") {
        verify(&signer(&[&key(NOW)]), &text).unwrap_err();
    }

    #[test]
    fn any_header_is_refused(header in "\\PC{0,60}|\\{\"alg\":\"[A-Za-z0-9]{0,6}\"(,\"kid\":\"\\PC{0,9}\")?\\}") {
        let signer = signer(&[&key(NOW)]);
        let token = signer.sign(&claims()).unwrap();
        let (_, rest) = token.split_once('.').unwrap();
        verify(&signer, &format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))).unwrap_err();
    }

    #[test]
    fn any_change_is_told(at: prop::sample::Index, letter in "[A-Za-z0-9_.-]") {
        let signer = signer(&[&key(NOW)]);
        let token = signer.sign(&claims()).unwrap();
        let at = at.index(token.len());
        let changed = format!("{}{letter}{}", &token[..at], &token[at + 1..]);
        prop_assert_eq!(verify(&signer, &changed).is_ok(), changed == token);
    }
}
