//! Who may do what, seen from outside: every end-point with every role, tokens and how they end, and attacks.

mod attacks;
mod golden;
mod house;
mod matrix;
mod revocation;
mod tokens;
