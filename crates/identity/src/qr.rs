//! A text as a QR code, for a page or a terminal.

use std::fmt::Write as _;

use qrcodegen::{QrCode, QrCodeEcc};

/// The light border that scanners need, in modules.
const BORDER: i32 = 4;

/// A QR code.
#[derive(Clone)]
pub struct Qr(QrCode);

impl Qr {
    /// The code of a text; `None` if that is too long, which it is beyond 2,331 bytes.
    pub fn new(text: &str) -> Option<Self> {
        QrCode::encode_text(text, QrCodeEcc::Medium).ok().map(Self)
    }

    /// For a page: an image that scales.
    pub fn svg(&self) -> String {
        let side = self.0.size() + 2 * BORDER;
        let mut path = String::new();
        for y in 0..self.0.size() {
            for x in (0..self.0.size()).filter(|x| self.0.get_module(*x, y)) {
                // Writing to a string cannot fail.
                write!(path, "M{},{}h1v1h-1z", x + BORDER, y + BORDER).unwrap_or_default();
            }
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
             <path fill=\"#fff\" d=\"M0,0h{side}v{side}h-{side}z\"/><path fill=\"#000\" d=\"{path}\"/></svg>"
        )
    }

    /// For a terminal with light letters on dark ground: half blocks, two rows in a line.
    pub fn terminal(&self) -> String {
        let all = -BORDER..self.0.size() + BORDER;
        let mut text = String::new();
        for y in all.clone().step_by(2) {
            // The size is odd: below the last row stands nothing.
            let is_light = |x, y| !self.0.get_module(x, y) && all.contains(&y);
            text.extend(all.clone().map(|x| match (is_light(x, y), is_light(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            }));
            text.push('\n');
        }
        text
    }
}

impl std::fmt::Debug for Qr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What it says may be a secret.
        f.write_str("Qr(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the modules back from the half blocks, dark ones as `true`, without the border.
    fn modules(terminal: &str) -> Vec<Vec<bool>> {
        let lines: Vec<Vec<char>> = terminal.lines().map(|line| line.chars().collect()).collect();
        let side = lines[0].len();
        let border = usize::try_from(BORDER).unwrap();
        let is_light = |x: usize, y: usize| match lines[y / 2][x] {
            '█' => true,
            '▀' => y.is_multiple_of(2),
            '▄' => !y.is_multiple_of(2),
            ' ' => false,
            other => panic!("{other}"),
        };
        let inside = border..side - border;
        inside.clone().map(|y| inside.clone().map(|x| !is_light(x, y)).collect()).collect()
    }

    #[test]
    fn the_terminal_and_the_page_show_the_same_code() {
        let qr = Qr::new("otpauth://totp/wharf:ada?secret=JBSWY3DPEHPK3PXP").unwrap();
        let modules = modules(&qr.terminal());
        let svg = qr.svg();
        assert_eq!(modules.len(), usize::try_from(qr.0.size()).unwrap());
        for (y, row) in modules.iter().enumerate() {
            for (x, is_dark) in row.iter().enumerate() {
                let at = |value: usize| i32::try_from(value).unwrap();
                assert_eq!(*is_dark, qr.0.get_module(at(x), at(y)), "{x},{y}");
                assert_eq!(*is_dark, svg.contains(&format!("M{},{}h1v1", x + 4, y + 4)), "{x},{y}");
            }
        }
        assert!(qr.terminal().starts_with("█████"), "a light border");
        assert!(qr.terminal().lines().all(|line| line.chars().count() <= 80), "it fits into a terminal");
    }

    #[test]
    fn a_text_may_be_too_long() {
        assert!(Qr::new(&"a".repeat(2331)).is_some());
        assert!(Qr::new(&"a".repeat(2332)).is_none());
    }
}
