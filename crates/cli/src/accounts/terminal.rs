//! What is asked of who sits at the terminal, and what is read from standard input in their place.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use anyhow::{Context, Result, bail};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// The most bytes of what is typed or piped in.
const INPUT: u64 = 16 << 10;

/// Asks for a text.
pub(super) async fn ask(prompt: &str) -> Result<String> {
    eprint!("{prompt}: ");
    io::stderr().flush().context("the terminal cannot be written to")?;
    let line = read(|mut input| {
        let mut line = String::new();
        input.read_line(&mut line).map(|_| line)
    });
    let line = line.await?;
    let text = line.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        bail!("nothing was typed");
    }
    Ok(text.to_owned())
}

/// Asks for a secret, which the terminal does not show.
pub(super) async fn ask_secret(prompt: &str) -> Result<String> {
    // Where the command is interrupted meanwhile, the terminal is itself again.
    let quiet = Quiet::new().context("the terminal cannot be told to hide what is typed")?;
    let secret = ask(prompt).await;
    drop(quiet);
    secret
}

/// Asks for a new password, twice.
pub(super) async fn ask_new_password() -> Result<String> {
    let password = ask_secret("New password").await?;
    if ask_secret("The same again").await? != password {
        bail!("that was another one: nothing is changed");
    }
    Ok(password)
}

/// Is there somebody to be asked?
pub(super) fn is_there() -> bool {
    io::stdin().is_terminal()
}

/// The lines of standard input, which are to be so many.
pub(super) async fn lines<const N: usize>(what: &str) -> Result<[String; N]> {
    let text = read(|mut input| {
        let mut text = String::new();
        input.read_to_string(&mut text).map(|_| text)
    })
    .await?;
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    match <[String; N]>::try_from(lines) {
        Ok(lines) if lines.iter().all(|line| !line.is_empty()) => Ok(lines),
        _ => bail!("standard input is to hold {what}"),
    }
}

/// Reads standard input, off the threads that others need. What is too long ends early.
async fn read(
    read: impl FnOnce(io::Take<io::StdinLock<'static>>) -> io::Result<String> + Send + 'static,
) -> Result<String> {
    let work = tokio::task::spawn_blocking(move || read(io::stdin().lock().take(INPUT)));
    work.await.context("standard input cannot be read")?.context("standard input cannot be read")
}

/// A terminal that does not show what is typed, until this goes.
struct Quiet(Termios);

impl Quiet {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        // The end of the line is shown, so that what follows begins on the next.
        quiet.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Drain, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        tcsetattr(io::stdin(), OptionalActions::Drain, &self.0).ok();
    }
}
