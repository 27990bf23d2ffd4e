//! A table that may be written as a string, a list or a boolean.

/// Lets a configuration type be written in a short form as well as in its table.
///
/// The full form is a second type that derives `Deserialize` and `JsonSchema` (usually private, with the doc comments
/// of the manual); the short forms are functions of the public type that return `Result<Self, String>`.
///
/// ```
/// use schemars::JsonSchema;
/// use serde::Deserialize;
///
/// #[derive(Debug, PartialEq)]
/// pub struct Redirect { to: String, status: u16 }
///
/// /// Where to send the client instead.
/// #[derive(Deserialize, JsonSchema)]
/// pub struct RedirectTable {
///     /// The new location.
///     to: String,
///     /// The status code.
///     status: Option<u16>,
/// }
///
/// impl From<RedirectTable> for Redirect {
///     fn from(table: RedirectTable) -> Self {
///         Self { to: table.to, status: table.status.unwrap_or(308) }
///     }
/// }
///
/// impl Redirect {
///     fn from_text(text: &str) -> Result<Self, String> {
///         Ok(Self { to: text.into(), status: 308 })
///     }
/// }
///
/// document::shorthand!(Redirect, RedirectTable, "a location or a table", str = Redirect::from_text);
/// # mod document { pub use maitred_document::*; }
///
/// let short: Redirect = serde_json::from_str(r#""/new""#).unwrap();
/// let long: Redirect = serde_json::from_str(r#"{ "to": "/new" }"#).unwrap();
/// assert_eq!(short, long);
/// ```
///
/// Where the short form is a type of its own, such as a [`Size`](crate::Size) or a list, `short = Type` names it, and the public
/// type is made `From` it.
#[macro_export]
macro_rules! shorthand {
    ($type:ty, $table:ty, $expecting:literal, short = $short:ty $(,)?) => {
        impl<'de> $crate::macros::serde::Deserialize<'de> for $type {
            fn deserialize<D: $crate::macros::serde::Deserializer<'de>>(deserializer: D) -> ::std::result::Result<Self, D::Error> {
                use $crate::macros::serde::de;

                struct Visitor;

                impl Visitor {
                    fn short<'de, D: $crate::macros::serde::Deserializer<'de>>(written: D) -> ::std::result::Result<$type, D::Error> {
                        <$short as $crate::macros::serde::Deserialize>::deserialize(written).map(<$type>::from)
                    }
                }

                impl<'de> de::Visitor<'de> for Visitor {
                    type Value = $type;

                    fn expecting(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> ::std::result::Result<$type, E> {
                        Self::short(de::value::StrDeserializer::new(text))
                    }

                    fn visit_i64<E: de::Error>(self, number: i64) -> ::std::result::Result<$type, E> {
                        Self::short(de::value::I64Deserializer::new(number))
                    }

                    fn visit_f64<E: de::Error>(self, number: f64) -> ::std::result::Result<$type, E> {
                        Self::short(de::value::F64Deserializer::new(number))
                    }

                    fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> ::std::result::Result<$type, A::Error> {
                        Self::short(de::value::SeqAccessDeserializer::new(list))
                    }

                    fn visit_map<A: de::MapAccess<'de>>(self, table: A) -> ::std::result::Result<$type, A::Error> {
                        let table = de::value::MapAccessDeserializer::new(table);
                        <$table as $crate::macros::serde::Deserialize>::deserialize(table).map(<$type>::from)
                    }
                }

                deserializer.deserialize_any(Visitor)
            }
        }

        $crate::shorthand!(@schema $type, $expecting, |generator| vec![
            $crate::macros::serde_json::Value::from(generator.subschema_for::<$short>()),
            $crate::macros::serde_json::Value::from(generator.subschema_for::<$table>()),
        ]);
    };

    ($type:ty, $table:ty, $expecting:literal
     $(, str = $from_str:expr)? $(, bool = $from_bool:expr)? $(, int = $from_int:expr)? $(,)?) => {
        impl<'de> $crate::macros::serde::Deserialize<'de> for $type {
            fn deserialize<D: $crate::macros::serde::Deserializer<'de>>(deserializer: D) -> ::std::result::Result<Self, D::Error> {
                struct Visitor;

                impl<'de> $crate::macros::serde::de::Visitor<'de> for Visitor {
                    type Value = $type;

                    fn expecting(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        f.write_str($expecting)
                    }

                    $(fn visit_str<E: $crate::macros::serde::de::Error>(self, text: &str) -> ::std::result::Result<$type, E> {
                        $from_str(text).map_err(E::custom)
                    })?

                    $(fn visit_bool<E: $crate::macros::serde::de::Error>(self, on: bool) -> ::std::result::Result<$type, E> {
                        $from_bool(on).map_err(E::custom)
                    })?

                    $(fn visit_i64<E: $crate::macros::serde::de::Error>(self, number: i64) -> ::std::result::Result<$type, E> {
                        $from_int(number).map_err(E::custom)
                    }

                    fn visit_u64<E: $crate::macros::serde::de::Error>(self, number: u64) -> ::std::result::Result<$type, E> {
                        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
                    })?

                    fn visit_map<A: $crate::macros::serde::de::MapAccess<'de>>(
                        self,
                        table: A,
                    ) -> ::std::result::Result<$type, A::Error> {
                        let table = $crate::macros::serde::de::value::MapAccessDeserializer::new(table);
                        <$table as $crate::macros::serde::Deserialize>::deserialize(table).map(<$type>::from)
                    }
                }

                deserializer.deserialize_any(Visitor)
            }
        }

        $crate::shorthand!(@schema $type, $expecting, |generator| {
            let mut forms = vec![$crate::macros::serde_json::Value::from(generator.subschema_for::<$table>())];
            $( let _ = stringify!($from_str); forms.push($crate::macros::serde_json::json!({ "type": "string" })); )?
            $( let _ = stringify!($from_bool); forms.push($crate::macros::serde_json::json!({ "type": "boolean" })); )?
            $( let _ = stringify!($from_int); forms.push($crate::macros::serde_json::json!({ "type": "integer" })); )?
            forms
        });
    };

    (@schema $type:ty, $expecting:literal, |$generator:ident| $forms:expr) => {
        impl $crate::macros::schemars::JsonSchema for $type {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            // Two concerns may have types of one name.
            fn schema_id() -> ::std::borrow::Cow<'static, str> {
                concat!(module_path!(), "::", stringify!($type)).into()
            }

            fn json_schema($generator: &mut $crate::macros::schemars::SchemaGenerator) -> $crate::macros::schemars::Schema {
                let forms: Vec<$crate::macros::serde_json::Value> = $forms;
                $crate::macros::schemars::json_schema!({ "anyOf": forms, "description": concat!("Written as ", $expecting, ".") })
            }
        }
    };
}
