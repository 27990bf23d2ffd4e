//! The tree of values, each of which knows where it stands.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// A value with its place in the source.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Global byte positions of the value; of a table with a header, the header.
    pub span: Range<usize>,
    /// What it is.
    pub value: Value,
    /// Where its text comes from.
    pub origin: Origin,
}

/// Where the text of a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// It stands in the file.
    #[default]
    Written,
    /// A part of it was filled in from a variable or from another file.
    FilledIn,
    /// It could not be filled in, which has been reported; decoding steps over it.
    Refused,
}

/// A value of the document.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    String(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A date, a time or both, as written. No key takes one.
    Datetime(String),
    /// A list.
    List(Vec<Node>),
    /// A table.
    Table(Table),
}

/// Keys and their values, in the order written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// The entries.
    pub entries: Vec<Entry>,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Global byte positions of the key.
    pub key_span: Range<usize>,
    /// The value.
    pub node: Node,
}

impl Table {
    /// The entry of that key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The entry of that key, to change.
    pub fn entry_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.key == key)
    }

    /// The value of that key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// Takes the entry of that key out.
    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(index))
    }
}

impl Node {
    /// Whether the other says the same, wherever it stands and in whatever order its tables are written. One value
    /// stands for a list of one.
    pub fn says_the_same(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::List(one), Value::List(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.says_the_same(two))
            }
            (Value::Table(one), Value::Table(two)) => {
                let found = |entry: &Entry| two.get(&entry.key).is_some_and(|two| entry.node.says_the_same(two));
                one.entries.len() == two.entries.len() && one.entries.iter().all(found)
            }
            (Value::List(list), _) => matches!(&list[..], [only] if only.says_the_same(other)),
            (_, Value::List(list)) => matches!(&list[..], [only] if self.says_the_same(only)),
            (one, two) => one == two,
        }
    }

    /// A value that stands at `span`.
    pub fn new(span: Range<usize>, value: Value) -> Self {
        Self { span, value, origin: Origin::Written }
    }

    /// An empty table that stands nowhere.
    pub(crate) fn root() -> Self {
        Self::new(0..0, Value::Table(Table::default()))
    }

    /// The table, if it is one.
    pub fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The table, if it is one, to change.
    pub fn as_table_mut(&mut self) -> Option<&mut Table> {
        match &mut self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Where the value has another type than expected: what it is, in words.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::String(text) if self.origin == Origin::Written => format!("the string {text:?}"),
            Value::String(_) => "a string".into(),
            Value::Integer(number) => format!("the integer {number}"),
            Value::Float(number) => format!("the number {number}"),
            Value::Boolean(on) => format!("`{on}`"),
            Value::Datetime(text) => format!("the date or time {text}"),
            Value::List(_) => "a list".into(),
            Value::Table(_) => "a table".into(),
        }
    }

    /// Calls `visit` for this value and every value below it.
    pub fn walk(&mut self, visit: &mut impl FnMut(&mut Node)) {
        visit(self);
        match &mut self.value {
            Value::List(list) => list.iter_mut().for_each(|node| node.walk(visit)),
            Value::Table(table) => table.entries.iter_mut().for_each(|entry| entry.node.walk(visit)),
            _ => {}
        }
    }
}

/// Takes over what the TOML parser read from a file whose first byte has the global position `base`.
pub(crate) fn from_toml(table: &DeTable<'_>, base: usize) -> Table {
    let shift = |span: Range<usize>| span.start + base..span.end + base;
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<_>)| {
        let key: &toml::Spanned<std::borrow::Cow<'_, str>> = key;
        Entry { key: key.get_ref().to_string(), key_span: shift(key.span()), node: node_from_toml(value, base) }
    };
    Table { entries: table.iter().map(entry).collect() }
}

fn node_from_toml(value: &toml::Spanned<DeValue<'_>>, base: usize) -> Node {
    let span = value.span().start + base..value.span().end + base;
    let value = match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Float(number.as_str().parse().unwrap_or(f64::INFINITY)),
        },
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(on) => Value::Boolean(*on),
        DeValue::Datetime(moment) => Value::Datetime(moment.to_string()),
        DeValue::Array(list) => Value::List(list.iter().map(|node| node_from_toml(node, base)).collect()),
        DeValue::Table(table) => Value::Table(from_toml(table, base)),
    };
    Node::new(span, value)
}
