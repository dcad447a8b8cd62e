//! How many refusals of nobody in particular are written down: so many for an address in a minute, and then that there
//! were more. Else whoever can reach the registry could push all other records out of a journal that is bounded.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

/// How many are written for an address in a minute.
const A_MINUTE: u32 = 120;

/// How many addresses are told apart. All others count as one.
const ADDRESSES: usize = 10_000;

const MINUTE: i64 = 60_000_000;

/// What is to be done with a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// It is written.
    Written,
    /// It is written as the last one of its address in this minute.
    Last,
    /// It is not.
    Passed,
}

/// The refusals of this minute.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<(i64, HashMap<IpAddr, u32>)>);

impl Refusals {
    /// Counts a refusal at a time in microseconds.
    pub(crate) fn count(&self, address: Option<IpAddr>, now: i64) -> Worth {
        let address = address.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), network);
        let minute = now.div_euclid(MINUTE);
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (current, counts) = &mut *guard;
        if *current != minute {
            *current = minute;
            counts.clear();
        }
        let is_known = counts.len() < ADDRESSES || counts.contains_key(&address);
        let key = if is_known { address } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        let count = counts.entry(key).or_default();
        *count = count.saturating_add(1);
        match *count {
            count if count < A_MINUTE => Worth::Written,
            A_MINUTE => Worth::Last,
            _ => Worth::Passed,
        }
    }
}

/// What one holder of addresses has: one of version 4, 2^64 of version 6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & (u128::MAX << 64)).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_of_an_address_are_written_in_a_minute() {
        let refusals = Refusals::default();
        let flood: Option<IpAddr> = Some("192.0.2.1".parse().unwrap());
        let worth: Vec<Worth> = (0..1_000).map(|n| refusals.count(flood, n)).collect();
        let count = |wanted: Worth| worth.iter().filter(|worth| **worth == wanted).count();
        assert_eq!((count(Worth::Written), count(Worth::Last)), (119, 1));
        assert_eq!(worth[119], Worth::Last);
        assert_eq!(refusals.count(Some("192.0.2.2".parse().unwrap()), 1), Worth::Written);
        assert_eq!(refusals.count(flood, MINUTE), Worth::Written, "another minute");
    }

    #[test]
    fn many_addresses_take_no_more_than_their_room() {
        let refusals = Refusals::default();
        let address = |n: u32| Some(IpAddr::V4(n.into()));
        let written = (0..200_000).filter(|n| refusals.count(address(*n), 0) != Worth::Passed).count();
        assert_eq!(written, ADDRESSES + A_MINUTE as usize);
        assert!(refusals.0.lock().unwrap().1.len() <= ADDRESSES + 1);
        let of_one = |n: u128| Some(IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | n)));
        let refusals = Refusals::default();
        assert_eq!((0..1_000).filter(|n| refusals.count(of_one(*n), 0) == Worth::Written).count(), 119);
    }
}
