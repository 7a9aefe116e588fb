//! From a message's tags and data to a type with fields, and what is said when they do not fit.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, Visitor,
        value::{BorrowedStrDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};

use crate::{
    Error, Tag,
    error::{excerpt, joined},
    message::first,
};

/// The field that is not a tag.
const DATA: &str = "data";

/// Tags, and where there is one a field `data`, as a `T`.
pub(crate) fn read<'m, T: Deserialize<'m>>(tags: &'m [Tag<'m>], data: Option<&'m str>) -> Result<T, Error> {
    // A client that has no data sends one space.
    let data = data.filter(|data| !data.trim().is_empty());
    T::deserialize(Tagged { tags, data }).map_err(|Unread(text)| Error::new(text))
}

/// Data that is JSON, as a `T`.
pub(crate) fn json<T: DeserializeOwned>(data: &str) -> Result<T, Error> {
    serde_json::from_str(data).map_err(|error| Error::new(format!("the data is not the JSON it should be: {error}")))
}

/// What a field is called on a message.
fn tag_name(field: &str) -> Cow<'_, str> {
    if field.bytes().any(|byte| byte == b'-' || byte.is_ascii_uppercase()) {
        return Cow::Borrowed(field);
    }
    let mut name = String::with_capacity(field.len());
    let mut first = true;
    for letter in field.chars() {
        match letter {
            '_' => {
                name.push('-');
                first = true;
            }
            letter if first => {
                name.push(letter.to_ascii_uppercase());
                first = false;
            }
            letter => name.push(letter),
        }
    }
    Cow::Owned(name)
}

/// The text of an error while reading.
#[derive(Debug)]
struct Unread(String);

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unread {}

impl de::Error for Unread {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        if field == DATA {
            Self("the message has no data".to_owned())
        } else {
            Self(joined(&["the tag ", &tag_name(field), " is missing"]))
        }
    }
}

/// A message or a process.
struct Tagged<'m> {
    tags: &'m [Tag<'m>],
    data: Option<&'m str>,
}

impl<'de> Deserializer<'de> for Tagged<'de> {
    type Error = Unread;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unread> {
        visitor.visit_map(Fields { message: self, fields: fields.iter(), next: None })
    }

    /// All tags under their own names, the first of equal ones.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        visitor.visit_map(All { tags: self.tags, at: 0 })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Unread> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Unread> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf seq tuple tuple_struct map enum
        identifier ignored_any
    }
}

/// The fields a struct asks for, as far as the message has them.
struct Fields<'m> {
    message: Tagged<'m>,
    fields: std::slice::Iter<'static, &'static str>,
    next: Option<Field<'m>>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Unread;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Unread> {
        for &field in self.fields.by_ref() {
            let (name, text) = if field == DATA {
                (Cow::Borrowed(field), self.message.data)
            } else {
                let name = tag_name(field);
                let text = first(self.message.tags, &name);
                (name, text)
            };
            if let Some(text) = text {
                self.next = Some(Field { name, text });
                return seed.deserialize(StrDeserializer::new(field)).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Unread> {
        let Some(Field { name, text }) = self.next.take() else { return Err(Unread::custom("a value without a key")) };
        seed.deserialize(Text(text)).map_err(|Unread(reason)| {
            let what = if name == DATA { "the data: " } else { "the tag " };
            let (name, colon) = if name == DATA { ("", "") } else { (&*name, ": ") };
            Unread(joined(&[what, name, colon, &reason]))
        })
    }
}

/// A tag's name, or [`DATA`], and its text.
struct Field<'m> {
    name: Cow<'static, str>,
    text: &'m str,
}

/// Every tag.
struct All<'m> {
    tags: &'m [Tag<'m>],
    at: usize,
}

impl<'de> MapAccess<'de> for All<'de> {
    type Error = Unread;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Unread> {
        while let Some(tag) = self.tags.get(self.at) {
            let earlier = self.tags.get(..self.at).unwrap_or_default();
            if first(earlier, &tag.name).is_none() {
                return seed.deserialize(BorrowedStrDeserializer::new(&tag.name)).map(Some);
            }
            self.at += 1;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Unread> {
        let tag = self.tags.get(self.at).ok_or_else(|| Unread::custom("a value without a key"))?;
        self.at += 1;
        seed.deserialize(Text(&tag.value))
            .map_err(|Unread(reason)| Unread(joined(&["the tag ", &tag.name, ": ", &reason])))
    }
}

/// One tag's value, or the data.
struct Text<'m>(&'m str);

impl<'de> Text<'de> {
    fn json<T>(
        self,
        read: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::StrRead<'de>>) -> serde_json::Result<T>,
    ) -> Result<T, Unread> {
        let mut reader = serde_json::Deserializer::from_str(self.0);
        let value = read(&mut reader).and_then(|value| reader.end().map(|()| value));
        value.map_err(|error| Unread(format!("not the JSON it should be: {error}")))
    }
}

macro_rules! whole_numbers {
    ($($deserialize:ident $visit:ident $number:ident)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
            match self.0.trim().parse() {
                Ok(number) => visitor.$visit(number),
                Err(_) => Err(Unread(format!(
                    "expected a whole number between {} and {}, found \"{}\"",
                    $number::MIN,
                    $number::MAX,
                    excerpt(self.0)
                ))),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = Unread;

    whole_numbers! {
        deserialize_i8 visit_i8 i8
        deserialize_i16 visit_i16 i16
        deserialize_i32 visit_i32 i32
        deserialize_i64 visit_i64 i64
        deserialize_i128 visit_i128 i128
        deserialize_u8 visit_u8 u8
        deserialize_u16 visit_u16 u16
        deserialize_u32 visit_u32 u32
        deserialize_u64 visit_u64 u64
        deserialize_u128 visit_u128 u128
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        match self.0.trim().parse() {
            Ok(number) => visitor.visit_f64(number),
            Err(_) => Err(Unread(format!("expected a number, found \"{}\"", excerpt(self.0)))),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        match self.0.trim() {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            other => Err(Unread(format!("expected true or false, found \"{}\"", excerpt(other)))),
        }
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        visitor.visit_borrowed_bytes(self.0.as_bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Unread> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unread> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        self.json(|reader| reader.deserialize_seq(visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Unread> {
        self.json(|reader| reader.deserialize_tuple(len, visitor))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Unread> {
        self.json(|reader| reader.deserialize_tuple_struct(name, len, visitor))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        self.json(|reader| reader.deserialize_map(visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unread> {
        self.json(|reader| reader.deserialize_struct(name, fields, visitor))
    }

    forward_to_deserialize_any! { char str string unit unit_struct identifier ignored_any }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Message, Quantity};

    #[derive(Debug, PartialEq, Deserialize)]
    struct Order<'a> {
        recipient: &'a str,
        quantity: Quantity,
        block_height: Option<u32>,
        #[serde(rename = "X-Note")]
        note: Option<String>,
        #[serde(default)]
        cast: bool,
        side: Side,
        data: Option<Vec<u8>>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Side {
        Buy,
        Sell,
    }

    fn message(tags: &[(&'static str, &'static str)], data: &'static str) -> Message<'static> {
        let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
        Message { tags, data: Some(data.into()), ..Message::default() }
    }

    const WHOLE: [(&str, &str); 6] = [
        ("Recipient", "bob"),
        ("Quantity", "5"),
        ("Block-Height", "17"),
        ("X-Note", "hi"),
        ("Cast", "true"),
        ("Side", "sell"),
    ];

    #[test]
    fn fields_are_tags_in_train_case_and_data_is_data() {
        let order = Order {
            recipient: "bob",
            quantity: Quantity::from(5_u64),
            block_height: Some(17),
            note: Some("hi".to_owned()),
            cast: true,
            side: Side::Sell,
            data: Some(vec![1, 2]),
        };
        assert_eq!(message(&WHOLE, "[1,2]").read::<Order<'_>>().unwrap(), order);
    }

    #[test]
    fn optional_fields_may_be_missing() {
        let message = message(&[("Recipient", "bob"), ("Quantity", "5"), ("Side", "buy")], " ");
        let order: Order<'_> = message.read().unwrap();
        assert_eq!((order.block_height, order.note, order.cast, order.data), (None, None, false, None));
    }

    #[test]
    fn errors_name_the_tag_and_what_was_found() {
        let with = |name: &str, value: Option<&'static str>, data| {
            let tags: Vec<_> = WHOLE
                .into_iter()
                .filter_map(|(tag, text)| if tag == name { value.map(|value| (tag, value)) } else { Some((tag, text)) })
                .collect();
            let message = message(&tags, data);
            message.read::<Order<'_>>().unwrap_err().text().to_owned()
        };
        assert_eq!(with("Recipient", None, ""), "the tag Recipient is missing");
        assert_eq!(
            with("Block-Height", Some("-1"), ""),
            "the tag Block-Height: expected a whole number between 0 and 4294967295, found \"-1\""
        );
        assert_eq!(with("Cast", Some("yes"), ""), "the tag Cast: expected true or false, found \"yes\"");
        assert_eq!(with("Side", Some("hold"), ""), "the tag Side: unknown variant `hold`, expected `buy` or `sell`");
        assert!(with("Quantity", Some("1.5"), "").starts_with("the tag Quantity: "));
        assert!(with("", None, "[1,").starts_with("the data: not the JSON it should be: "));
        assert!(with("", None, "[1] 2").starts_with("the data: not the JSON it should be: "));
    }

    #[test]
    fn a_required_data_field_says_so() {
        #[derive(Debug, Deserialize)]
        struct Post {
            data: String,
        }
        assert_eq!(message(&[], "  ").read::<Post>().unwrap_err().text(), "the message has no data");
        assert_eq!(message(&[], " hi ").read::<Post>().unwrap().data, " hi ");
    }

    #[test]
    fn a_map_takes_every_tag_and_the_first_of_equal_ones() {
        let message = message(&[("A", "1"), ("B", "2"), ("A", "3")], "");
        let tags: BTreeMap<&str, u8> = message.read().unwrap();
        assert_eq!(tags, BTreeMap::from([("A", 1), ("B", 2)]));
    }
}
