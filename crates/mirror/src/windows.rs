//! Times of the day in which an upstream may be burdened more, or less, than else.

use std::str::FromStr;
use std::time::Duration;

use meta::Timestamp;

const DAY: i64 = 24 * 60;

/// The farthest that any clock on earth is from UTC.
const OFFSET_MAX: i64 = 14 * 60;

/// How much may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// How many blobs are fetched at once.
    pub downloads: usize,
    /// How many bytes of blobs a second; any number where that is 0.
    pub bandwidth: u64,
}

/// What is no time, day, or distance from UTC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// No time of the day.
    #[error("`{0}` is no time of the day: write it as `06:00`, up to `24:00`")]
    Time(String),
    /// No day of the week.
    #[error("`{0}` is no day: they are mon, tue, wed, thu, fri, sat and sun")]
    Day(String),
    /// No distance from UTC.
    #[error("`{0}` is no distance from UTC: write it as `+08:00` or `-03:30`")]
    Offset(String),
    /// Nothing lies between its beginning and its end.
    #[error("it ends when it begins: for whole days write 00:00 and 24:00")]
    Empty,
    /// It begins with the end of a day.
    #[error("it begins at 24:00, which is 00:00 of the next day: write that")]
    Begins,
}

/// A time of the day, in minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(i64);

/// A day of the week; Monday is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(i64);

/// How many minutes clocks are ahead of UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offset(i64);

/// A part of some days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    from: Time,
    until: Time,
    /// On which it begins; empty for all.
    days: Vec<Day>,
    downloads: Option<usize>,
    bandwidth: Option<u64>,
}

/// What holds when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// What holds outside of all windows.
    pub usual: Figures,
    /// The first that it is in counts.
    pub windows: Vec<Window>,
    /// Whose days and times these are.
    pub offset: Offset,
}

/// Minutes of `06:00`.
fn minutes(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| -> Option<i64> {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (minutes < 60).then_some(hours * 60 + minutes)
}

/// What somebody wrote, as far as it is shown.
fn shown(text: &str) -> String {
    text.chars().take(20).collect()
}

impl FromStr for Time {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let found = minutes(text).filter(|minutes| *minutes <= DAY);
        found.map(Self).ok_or_else(|| WindowError::Time(shown(text)))
    }
}

impl FromStr for Day {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let found = names.iter().zip(0..).find(|(name, _)| **name == text);
        found.map(|(_, day)| Self(day)).ok_or_else(|| WindowError::Day(shown(text)))
    }
}

impl FromStr for Offset {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let wrong = || WindowError::Offset(shown(text));
        let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(rest), _) => (1, rest),
            (_, Some(rest)) => (-1, rest),
            _ => return Err(wrong()),
        };
        let found = minutes(rest).filter(|minutes| *minutes <= OFFSET_MAX);
        found.map(|minutes| Self(sign * minutes)).ok_or_else(wrong)
    }
}

impl Window {
    /// From one time of a day until another, maybe of the next. What is not given stays as it is outside.
    pub fn new(
        (from, until): (Time, Time),
        days: Vec<Day>,
        downloads: Option<usize>,
        bandwidth: Option<u64>,
    ) -> Result<Self, WindowError> {
        if from == until {
            return Err(WindowError::Empty);
        }
        if from.0 == DAY {
            return Err(WindowError::Begins);
        }
        Ok(Self { from, until, days, downloads, bandwidth })
    }

    fn begins_on(&self, day: i64) -> bool {
        self.days.is_empty() || self.days.contains(&Day(day.rem_euclid(7)))
    }

    /// Whether a minute of a day, which are counted from a Monday, lies within it.
    fn holds(&self, day: i64, minute: i64) -> bool {
        let (Time(from), Time(until)) = (self.from, self.until);
        if from < until {
            return self.begins_on(day) && (from..until).contains(&minute);
        }
        // It passes midnight, and belongs to the day on which it begins.
        (self.begins_on(day) && minute >= from) || (self.begins_on(day - 1) && minute < until)
    }
}

impl Schedule {
    /// The same at all times.
    pub const fn always(usual: Figures) -> Self {
        Self { usual, windows: Vec::new(), offset: Offset(0) }
    }

    /// What holds at a moment.
    pub fn at(&self, now: Timestamp) -> Figures {
        if self.windows.is_empty() {
            return self.usual;
        }
        let minutes = now.micros().div_euclid(Duration::from_mins(1).as_micros() as i64) + self.offset.0;
        // 1970 began on a Thursday.
        let (day, minute) = (minutes.div_euclid(DAY) + 3, minutes.rem_euclid(DAY));
        let window = self.windows.iter().find(|window| window.holds(day, minute));
        let Some(window) = window else { return self.usual };
        Figures {
            downloads: window.downloads.unwrap_or(self.usual.downloads),
            bandwidth: window.bandwidth.unwrap_or(self.usual.bandwidth),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A moment of the week that began on Monday, 5 January 1970.
    fn moment(day: &str, time: &str) -> Timestamp {
        let (Day(day), minutes) = (day.parse().unwrap(), minutes(time).unwrap());
        Timestamp::from_micros((4 * DAY + day * DAY + minutes) * 60_000_000)
    }

    fn window(from: &str, until: &str, days: &[&str], bandwidth: u64) -> Window {
        let days = days.iter().map(|day| day.parse().unwrap()).collect();
        Window::new((from.parse().unwrap(), until.parse().unwrap()), days, None, Some(bandwidth)).unwrap()
    }

    #[test]
    fn a_window_holds_from_its_first_minute_until_before_its_last() {
        let usual = Figures { downloads: 16, bandwidth: 1 };
        let check = |windows: &[Window], offset: &str, (day, time): (&str, &str), expect: u64| {
            let schedule = Schedule { usual, windows: windows.to_vec(), offset: offset.parse().unwrap() };
            let found = schedule.at(moment(day, time));
            assert_eq!(
                found,
                Figures { downloads: 16, bandwidth: expect },
                "{windows:?} {offset} {day} {time}"
            );
        };
        let office = [window("08:00", "18:00", &["mon", "fri"], 2)];
        for (day, time, expect) in [
            ("mon", "07:59", 1),
            ("mon", "08:00", 2),
            ("mon", "17:59", 2),
            ("mon", "18:00", 1),
            ("tue", "12:00", 1),
            ("fri", "12:00", 2),
            ("sun", "12:00", 1),
        ] {
            check(&office, "+00:00", (day, time), expect);
        }
        let night = [window("22:00", "06:00", &["fri"], 0)];
        for (day, time, expect) in [
            ("fri", "05:59", 1),
            ("fri", "21:59", 1),
            ("fri", "22:00", 0),
            ("sat", "00:00", 0),
            ("sat", "05:59", 0),
            ("sat", "06:00", 1),
            ("sat", "22:00", 1),
        ] {
            check(&night, "+00:00", (day, time), expect);
        }
        // From Sunday into Monday, and there is no day before the first.
        check(&[window("22:00", "06:00", &["sun"], 0)], "+00:00", ("mon", "01:00"), 0);
        let all = [window("00:00", "24:00", &["wed"], 7)];
        check(&all, "+00:00", ("wed", "00:00"), 7);
        check(&all, "+00:00", ("wed", "23:59"), 7);
        check(&all, "+00:00", ("thu", "00:00"), 1);
        // 16:00 UTC is midnight there, and another day.
        check(&all, "+08:00", ("tue", "16:00"), 7);
        check(&all, "+08:00", ("tue", "15:59"), 1);
        check(&all, "-03:30", ("wed", "03:29"), 1);
        check(&all, "-03:30", ("wed", "03:30"), 7);
        // The first counts.
        let both = [window("08:00", "12:00", &[], 3), window("08:00", "18:00", &[], 4)];
        check(&both, "+00:00", ("mon", "11:59"), 3);
        check(&both, "+00:00", ("mon", "12:00"), 4);
    }

    #[test]
    fn a_window_changes_what_it_names() {
        let usual = Figures { downloads: 16, bandwidth: 1 };
        let times = ("00:00".parse().unwrap(), "24:00".parse().unwrap());
        let window = Window::new(times, Vec::new(), Some(2), None).unwrap();
        let schedule = Schedule { windows: vec![window], ..Schedule::always(usual) };
        assert_eq!(schedule.at(Timestamp::from_micros(0)), Figures { downloads: 2, bandwidth: 1 });
        assert_eq!(schedule.at(Timestamp::from_micros(-1)), Figures { downloads: 2, bandwidth: 1 });
        assert_eq!(Schedule::always(usual).at(Timestamp::from_micros(0)), usual);
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for bad in ["", "6:00", "06", "06:60", "24:01", "99:00", "+6:00", "06:0a", "06:00 "] {
            assert_eq!(bad.parse::<Time>(), Err(WindowError::Time(bad.into())));
        }
        for bad in ["", "Mon", "monday", "8"] {
            assert_eq!(bad.parse::<Day>(), Err(WindowError::Day(bad.into())));
        }
        for bad in ["", "08:00", "+8", "+14:01", "UTC", "+-08:00"] {
            assert_eq!(bad.parse::<Offset>(), Err(WindowError::Offset(bad.into())));
        }
        let new = |from: &str, until: &str| {
            Window::new((from.parse().unwrap(), until.parse().unwrap()), Vec::new(), None, Some(0))
        };
        assert_eq!(new("06:00", "06:00"), Err(WindowError::Empty));
        assert_eq!(new("24:00", "06:00"), Err(WindowError::Begins));
        assert!(new("06:00", "00:00").is_ok());
    }
}
