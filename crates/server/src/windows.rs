//! Times in which an upstream may be burdened more, or less, than else: `[[upstream.window]]`.

use anyhow::{Context, Result, bail};
use mirror::{Figures, Schedule, Window};
use serde::{Deserialize, Serialize};

use crate::upstreams::check_bandwidth;

/// The most windows of an upstream.
const WINDOWS_MAX: usize = 32;

/// A part of some days, and what holds in it in place of what the upstream says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WindowSection {
    /// When it begins: `22:00`.
    pub from: String,
    /// When it is over, maybe on the next day: `06:00`.
    pub until: String,
    /// The days on which it begins: `mon`, `tue`, ...; empty for all.
    pub days: Vec<String>,
    /// How many blobs are fetched at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downloads: Option<usize>,
    /// How many bytes of blobs a second; 0 for any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
}

impl WindowSection {
    fn window(&self) -> Result<Window> {
        if self.downloads.is_none() && self.bandwidth.is_none() {
            bail!("it changes nothing: give it `bandwidth` or `downloads`");
        }
        self.bandwidth.map_or(Ok(()), check_bandwidth)?;
        if self.downloads == Some(0) {
            bail!("`downloads` must be 1 or more");
        }
        let (from, until) = (self.from.parse().context("`from`")?, self.until.parse().context("`until`")?);
        let days = self.days.iter().map(|day| day.parse()).collect::<Result<_, _>>().context("`days`")?;
        Ok(Window::new((from, until), days, self.downloads, self.bandwidth)?)
    }
}

/// What holds when.
pub(crate) fn schedule(usual: Figures, windows: &[WindowSection], offset: &str) -> Result<Schedule> {
    if windows.len() > WINDOWS_MAX {
        bail!("it has {} windows: at most {WINDOWS_MAX} are looked through", windows.len());
    }
    let offset = match offset {
        "" => mirror::Offset::default(),
        offset => offset.parse().context("`offset`")?,
    };
    let named = |(number, window): (usize, &WindowSection)| {
        window.window().with_context(|| format!("its [[upstream.window]] {}", number + 1))
    };
    let windows = windows.iter().enumerate().map(named).collect::<Result<_>>()?;
    Ok(Schedule { usual, windows, offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, offset: &str, expect: &str| {
            let window: WindowSection = toml::from_str(text).unwrap();
            let usual = Figures { downloads: 16, bandwidth: 0 };
            let error = format!("{:#}", schedule(usual, &[window], offset).unwrap_err());
            assert!(error.contains(expect), "{text}: {error}");
        };
        let times = "from = \"08:00\"\nuntil = \"18:00\"\n";
        check(times, "", "[[upstream.window]] 1: it changes nothing");
        check(&format!("{times}downloads = 0"), "", "1 or more");
        check(&format!("{times}bandwidth = 1000"), "", "65536 bytes a second or more");
        check("until = \"18:00\"\ndownloads = 1", "", "`from`: `` is no time of the day");
        check("from = \"08:00\"\nuntil = \"8\"\ndownloads = 1", "", "`until`");
        check("from = \"08:00\"\nuntil = \"08:00\"\ndownloads = 1", "", "it ends when it begins");
        check(&format!("{times}downloads = 1\ndays = [\"someday\"]"), "", "`someday` is no day");
        check(&format!("{times}downloads = 1"), "CET", "`offset`");
        let window: WindowSection = toml::from_str(&format!("{times}downloads = 1")).unwrap();
        let usual = Figures { downloads: 16, bandwidth: 0 };
        assert!(schedule(usual, &vec![window.clone(); 32], "+01:00").is_ok());
        assert!(schedule(usual, &vec![window; 33], "").is_err());
    }
}
