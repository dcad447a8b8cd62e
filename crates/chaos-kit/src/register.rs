//! What one changeable thing may hold, seen by clients whose writes overlap.

/// A digest, or `None` for "not there".
pub(crate) type Value = Option<String>;

#[derive(Clone, Debug)]
struct Write {
    id: u64,
    value: Value,
    /// When it was acknowledged; before that it may or may not have been done, at any moment.
    end: Option<u64>,
}

/// A tag, a manifest in a repository or a blob in a repository, as a set of possible values.
///
/// Writes that overlap may take effect in either order, so the value is known only up to those that are not surely
/// older than an acknowledged one.
#[derive(Clone, Debug)]
pub(crate) struct Register {
    writes: Vec<Write>,
    /// Counts every write that began, so that a reader can tell that none came in between.
    pub(crate) begun: u64,
}

impl Register {
    /// A register that surely holds this.
    pub(crate) fn new(value: Value) -> Self {
        Self { writes: vec![Write { id: 0, value, end: Some(0) }], begun: 0 }
    }

    /// A write starts; from now on its value may be there. Its id is also the moment of its start.
    pub(crate) fn begin(&mut self, id: u64, value: Value) {
        self.begun += 1;
        self.writes.push(Write { id, value, end: None });
    }

    /// The write was done: all that had ended before it started is overwritten.
    pub(crate) fn acknowledge(&mut self, id: u64, now: u64) {
        self.writes.retain(|write| write.id == id || write.end.is_none_or(|end| end > id));
        for write in self.writes.iter_mut().filter(|write| write.id == id) {
            write.end = Some(now);
        }
    }

    /// The write was surely not done.
    pub(crate) fn refuse(&mut self, id: u64) {
        self.writes.retain(|write| write.id != id);
    }

    /// Something else may have written this by now, without overwriting for sure.
    pub(crate) fn may_also_be(&mut self, value: Value, now: u64) {
        self.begun += 1;
        self.writes.push(Write { id: now, value, end: Some(now) });
    }

    /// Whether this value is possible.
    pub(crate) fn may_be(&self, value: &Value) -> bool {
        self.writes.iter().any(|write| write.value == *value)
    }

    /// The only possible value, if there is but one.
    pub(crate) fn certain(&self) -> Option<&Value> {
        let first = &self.writes.first()?.value;
        self.writes.iter().all(|write| write.value == *first).then_some(first)
    }

    /// The possible values, for messages and for asking about each.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Value> {
        self.writes.iter().map(|write| &write.value)
    }

    /// The value was seen when nothing was under way, so it is known.
    pub(crate) fn settle(&mut self, value: Value) {
        *self = Self { begun: self.begun, ..Self::new(value) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps: `+1a` begins write 1 of "a", `=1` acknowledges it, `-1` refuses it, `?a` may also be "a"; `~` stands
    /// for "not there". The clock counts the steps, and a write's id is the moment of its start.
    fn check(steps: &str, expect: &str) {
        let value = |text: &str| (text != "~").then(|| text.to_owned());
        let mut register = Register::new(None);
        let mut ids = [0; 10];
        for (step, now) in steps.split_whitespace().zip(1..) {
            let number = step[1..2].parse::<usize>().unwrap_or(0);
            match &step[..1] {
                "+" => {
                    ids[number] = now;
                    register.begin(now, value(&step[2..]));
                }
                "=" => register.acknowledge(ids[number], now),
                "-" => register.refuse(ids[number]),
                _ => register.may_also_be(value(&step[1..]), now),
            }
        }
        let mut values: Vec<&str> = register.values().map(|value| value.as_deref().unwrap_or("~")).collect();
        values.sort_unstable();
        assert_eq!(values.join(" "), expect, "after {steps}");
    }

    #[test]
    fn only_writes_that_ended_before_are_overwritten() {
        check("", "~");
        check("+1a", "a ~");
        check("+1a =1", "a");
        check("+1a -1", "~");
        check("+1a =1 +2b", "a b");
        check("+1a =1 +2b =2", "b");
        check("+1a =1 +2~ =2", "~");
        check("+1a +2b =1 =2", "a b");
        check("+1a +2b =2", "a b");
        check("+1a +2b =2 +3c =3", "a c");
        check("+1a +2b =1 =2 +3c =3", "c");
        check("+1a =1 ?~", "a ~");
        check("+1a =1 ?~ +2b =2", "b");
    }

    #[test]
    fn certainty_needs_one_value() {
        let mut register = Register::new(None);
        assert_eq!(register.certain(), Some(&None));
        register.begin(1, Some("a".into()));
        assert_eq!(register.certain(), None);
        register.settle(Some("a".into()));
        assert_eq!(register.certain(), Some(&Some("a".into())));
        assert_eq!(register.begun, 1);
    }
}
