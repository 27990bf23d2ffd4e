//! Serde over the tree: errors know their path, unknown keys are noted, refused entries are stepped over.

use std::{cell::RefCell, collections::HashSet};

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, IntoDeserializer, Visitor},
    forward_to_deserialize_any,
};

use super::error::Error;
use crate::tree::{Entry, Node, Origin, Value};

/// What one walk over the tree remembers.
#[derive(Default)]
pub(super) struct Walk {
    /// Entries to step over: they have been reported.
    pub skip: HashSet<Vec<String>>,
    /// Keys that the type does not know.
    pub unknown: RefCell<Vec<Vec<String>>>,
    /// Secrets that stand in the file itself.
    pub secrets: RefCell<Vec<Vec<String>>>,
    /// Tables with an entry that could not be filled in.
    pub refused: RefCell<Vec<Vec<String>>>,
    /// Where the walk stands.
    pub path: RefCell<Vec<String>>,
}

/// The name by which [`crate::Secret`] makes itself known.
pub(crate) const SECRET: &str = "maitred::Secret";

pub(super) struct NodeDeserializer<'n> {
    pub node: &'n Node,
    pub walk: &'n Walk,
}

impl Walk {
    /// Does `work` one key further down.
    fn below<T>(&self, key: &str, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        self.path.borrow_mut().push(key.to_owned());
        let outcome = work().map_err(|error| error.at(&self.path.borrow()));
        self.path.borrow_mut().pop();
        outcome
    }

    fn skips(&self, key: &str, node: &Node) -> bool {
        if node.origin == Origin::Refused {
            self.refused.borrow_mut().push(self.path.borrow().clone());
            return true;
        }
        if self.skip.is_empty() {
            return false;
        }
        let mut path = self.path.borrow().clone();
        path.push(key.to_owned());
        self.skip.contains(&path)
    }
}

impl<'n> NodeDeserializer<'n> {
    /// Text that was filled in from outside and that is to be a number or a boolean.
    fn filled_in(&self) -> Option<&'n str> {
        (self.node.origin == Origin::FilledIn).then(|| self.node.as_str()).flatten()
    }

    fn number<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.filled_in().map(str::trim);
        if let Some(number) = text.and_then(|text| text.parse().ok()) {
            return visitor.visit_i64(number);
        }
        if let Some(number) = text.and_then(|text| text.parse().ok()) {
            return visitor.visit_f64(number);
        }
        self.deserialize_any(visitor)
    }
}

macro_rules! numbers {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
            self.number(visitor)
        })+
    };
}

impl<'n> Deserializer<'n> for NodeDeserializer<'n> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(on) => visitor.visit_bool(*on),
            Value::Datetime(_) => Err(de::Error::invalid_type(de::Unexpected::Other("date or time"), &visitor)),
            Value::List(list) => visitor.visit_seq(List { rest: list.iter().enumerate(), walk: self.walk }),
            Value::Table(table) => visitor.visit_map(Map::new(table.entries.iter(), self.walk)),
        }
    }

    fn deserialize_option<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'n>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        if name == SECRET && self.node.origin == Origin::Written {
            self.walk.secrets.borrow_mut().push(self.walk.path.borrow().clone());
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'n>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            Value::Table(table) => {
                let table = Map::new(table.entries.iter(), self.walk);
                visitor.visit_enum(de::value::MapAccessDeserializer::new(table))
            }
            _ => Err(de::Error::invalid_type(de::Unexpected::Other("value"), &"a string")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        self.walk.unknown.borrow_mut().push(self.walk.path.borrow().clone());
        visitor.visit_unit()
    }

    fn deserialize_bool<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.filled_in().and_then(|text| text.trim().parse().ok()) {
            Some(on) => visitor.visit_bool(on),
            None => self.deserialize_any(visitor),
        }
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
    }

    forward_to_deserialize_any! {
        <V: Visitor<'n>>
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
    }
}

struct List<'n> {
    rest: std::iter::Enumerate<std::slice::Iter<'n, Node>>,
    walk: &'n Walk,
}

impl<'n> de::SeqAccess<'n> for List<'n> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'n>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        for (index, node) in self.rest.by_ref() {
            let key = index.to_string();
            if !self.walk.skips(&key, node) {
                let value = self.walk.below(&key, || seed.deserialize(NodeDeserializer { node, walk: self.walk }))?;
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

struct Map<'n> {
    rest: std::slice::Iter<'n, Entry>,
    current: Option<&'n Entry>,
    walk: &'n Walk,
}

impl<'n> Map<'n> {
    fn new(rest: std::slice::Iter<'n, Entry>, walk: &'n Walk) -> Self {
        Self { rest, current: None, walk }
    }
}

impl<'n> de::MapAccess<'n> for Map<'n> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'n>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let walk = self.walk;
        self.current = self.rest.by_ref().find(|entry| !walk.skips(&entry.key, &entry.node));
        let Some(entry) = self.current else { return Ok(None) };
        let key = de::value::BorrowedStrDeserializer::new(&entry.key);
        walk.below(&entry.key, || seed.deserialize(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'n>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(Entry { key, node, .. }) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        self.walk.below(key, || seed.deserialize(NodeDeserializer { node, walk: self.walk }))
    }
}
