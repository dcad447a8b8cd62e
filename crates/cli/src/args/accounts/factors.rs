//! The arguments of `wharf two-factor`.

use clap::Subcommand;

use super::SessionFlags;

#[derive(Debug, Subcommand)]
pub(crate) enum TwoFactorCommand {
    /// Turn your second factor on. The code of the app is read from standard input; the recovery codes are printed
    /// this once.
    Enable(SessionFlags),
    /// Turn your second factor off.
    Disable(SessionFlags),
    /// Give yourself new recovery codes in place of the old ones. They are printed this once.
    RecoveryCodes(SessionFlags),
    /// Show whether it is on.
    Status(SessionFlags),
}
