//! What may stand in a query, described.

/// One name that a query knows.
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    /// What it is for.
    pub(crate) about: &'static str,
}

/// What a value looks like.
pub(crate) enum Form {
    /// Text, such as this.
    Text(&'static str),
    /// A whole number, not negative.
    Number,
    /// A moment.
    Moment,
    /// One of these.
    OneOf(&'static [&'static str]),
}

/// Where a page of a list begins.
pub(crate) const AFTER: &[Parameter] =
    &[Parameter::new("after", Form::Text("ann"), "the `next` of the page before")];

/// Nothing.
pub(crate) const NONE: &[Parameter] = &[];

impl Parameter {
    pub(crate) const fn new(name: &'static str, form: Form, about: &'static str) -> Self {
        Self { name, form, about }
    }

    /// A value that is good.
    pub(crate) fn example(&self) -> &'static str {
        match self.form {
            Form::Text(example) => example,
            Form::Number => "100",
            Form::Moment => "2027-01-31T12:00:00Z",
            Form::OneOf(values) => values.first().copied().unwrap_or_default(),
        }
    }
}
