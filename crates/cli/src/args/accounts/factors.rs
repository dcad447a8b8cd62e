//! The arguments of `wharf two-factor`.

use clap::{Args, Subcommand};

use super::SessionFlags;

#[derive(Debug, Subcommand)]
pub(crate) enum TwoFactorCommand {
    /// Turn the codes of an app on. The first one is read from standard input; the recovery codes are printed
    /// this once.
    Enable(SessionFlags),
    /// Turn the codes of your app off.
    Disable(SessionFlags),
    /// Give yourself new recovery codes in place of the old ones. They are printed this once.
    RecoveryCodes(SessionFlags),
    /// Show whether there is one.
    Status(SessionFlags),
    /// List your passkeys. They are added on the pages, with a browser.
    Passkeys(SessionFlags),
    /// Remove one of your passkeys.
    RemovePasskey(RemovePasskey),
}

#[derive(Debug, Args)]
pub(crate) struct RemovePasskey {
    #[command(flatten)]
    pub session: SessionFlags,
    /// Its id, as the list has it.
    #[arg(value_name = "ID")]
    pub id: String,
}
