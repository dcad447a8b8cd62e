//! Attacks. Each must be refused, and must have changed and told nothing.

mod content;
mod escalation;
mod forgery;
mod guessing;
mod headers;
mod input;
mod names;
mod uploads;
