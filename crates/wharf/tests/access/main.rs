//! Who may do what, seen from outside: every end-point with every role, tokens and how they end, and attacks.

mod administrators;
mod attacks;
mod audit;
mod golden;
mod matrix;
mod reference;
mod revocation;
mod tokens;
mod upstream;

use test_kit::House;

/// Starts a registry with users.
fn registry() -> House {
    House::start(env!("CARGO_BIN_EXE_wharf"))
}
