//! The two cookies: of a session, and of a browser that is about to sign in.

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue, InvalidHeaderValue};
use identity::SessionId;

/// How long a form to sign in may stay open, in seconds.
const LOGIN_SECONDS: u32 = 3_600;

/// A cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// Of a session.
    Session,
    /// Of a browser that is about to sign in: so its forms, and its way to a provider and back, are its own.
    Login,
}

/// How the browser reaches us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// Whether its connection is encrypted.
    pub(crate) secure: bool,
    /// The path under which a proxy shows us; empty for none.
    pub(crate) prefix: &'a str,
}

impl Cookie {
    /// With the prefix `__Host-`, a browser takes the cookie from this very host only, and over TLS only.
    const fn name(self, place: Place<'_>) -> &'static str {
        match (self, place.secure && place.prefix.is_empty()) {
            (Self::Session, true) => "__Host-wharf_session",
            (Self::Session, false) => "wharf_session",
            (Self::Login, true) => "__Host-wharf_login",
            (Self::Login, false) => "wharf_login",
        }
    }

    /// The id in a request's cookie. Where there are several of the name, none counts: another host put one there.
    pub(crate) fn read(self, headers: &HeaderMap, place: Place<'_>) -> Option<SessionId> {
        let name = self.name(place);
        let fields = headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok());
        let pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
        let value = values.next()?;
        values.next().is_none().then(|| SessionId::parse(value)).flatten()
    }

    /// What makes a browser keep the id.
    pub(crate) fn set(self, id: &SessionId, place: Place<'_>) -> Result<HeaderValue, InvalidHeaderValue> {
        let age = match self {
            // It goes with the browser, and ends on the server before that.
            Self::Session => String::new(),
            Self::Login => format!("; Max-Age={LOGIN_SECONDS}"),
        };
        let mut value = self.field(id.secret().expose(), &age, place)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// What makes a browser forget it.
    pub(crate) fn unset(self, place: Place<'_>) -> Result<HeaderValue, InvalidHeaderValue> {
        self.field("", "; Max-Age=0", place)
    }

    fn field(self, value: &str, age: &str, place: Place<'_>) -> Result<HeaderValue, InvalidHeaderValue> {
        let path = if place.prefix.is_empty() { "/" } else { place.prefix };
        let secure = if place.secure { "; Secure" } else { "" };
        let name = self.name(place);
        HeaderValue::from_str(&format!("{name}={value}; Path={path}; HttpOnly; SameSite=Lax{secure}{age}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Place<'_> = Place { secure: false, prefix: "" };
    const SECURE: Place<'_> = Place { secure: true, prefix: "" };
    const BELOW: Place<'_> = Place { secure: true, prefix: "/registry" };

    #[test]
    fn cookies_say_who_may_see_them() {
        let id = SessionId::generate().unwrap();
        let text = id.secret().expose();
        let check = |cookie: Cookie, place, expect: &str| {
            let value = cookie.set(&id, place).unwrap();
            assert_eq!(value.to_str().unwrap().replace(text, "ID"), expect);
            assert!(!format!("{value:?}").contains(text));
        };
        check(Cookie::Session, PLAIN, "wharf_session=ID; Path=/; HttpOnly; SameSite=Lax");
        check(Cookie::Session, SECURE, "__Host-wharf_session=ID; Path=/; HttpOnly; SameSite=Lax; Secure");
        check(Cookie::Session, BELOW, "wharf_session=ID; Path=/registry; HttpOnly; SameSite=Lax; Secure");
        check(
            Cookie::Login,
            SECURE,
            "__Host-wharf_login=ID; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=3600",
        );
        let gone = Cookie::Session.unset(PLAIN).unwrap();
        assert_eq!(gone, "wharf_session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
    }

    #[test]
    fn one_cookie_of_the_right_name_counts() {
        let id = SessionId::generate().unwrap();
        let text = id.secret().expose();
        let check = |fields: &[String], place, expect: bool| {
            let fields = fields.iter().map(|field| (COOKIE, HeaderValue::from_str(field).unwrap()));
            let headers: HeaderMap = fields.collect();
            let read = Cookie::Session.read(&headers, place);
            assert_eq!(read.is_some(), expect, "{headers:?}");
            assert!(read.is_none_or(|read| read.secret().expose() == text));
        };
        let (plain, host) = (format!("wharf_session={text}"), format!("__Host-wharf_session={text}"));
        check(&[format!("a=b; {plain}; c")], PLAIN, true);
        check(&["a=b".into(), plain.clone()], PLAIN, true);
        check(std::slice::from_ref(&host), SECURE, true);
        check(std::slice::from_ref(&plain), SECURE, false);
        check(&[host], PLAIN, false);
        check(&[format!("{plain}; {plain}")], PLAIN, false);
        check(&[format!("{plain}x")], PLAIN, false);
        check(&["wharf_session=".into()], PLAIN, false);
        check(&[], PLAIN, false);
    }
}
