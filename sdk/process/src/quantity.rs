//! Exact quantities of something that is counted in its smallest unit.

use std::{fmt, iter::Sum, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Error, error::excerpt};

/// A quantity: a whole number from 0 to 2¹²⁸−1, in texts its decimal digits.
///
/// Arithmetic is checked: a result that does not fit is an [`Error`], never a wrong number. 128 bits hold 340 million million
/// million million million units, which is a supply of 10²⁰ coins with 18 decimals; tokens of `aos` count in 256 bits that
/// wrap around, and a quantity of theirs that does not fit here is refused. In exchange a quantity is a plain value of 16
/// bytes that Wasm adds in a few instructions and without an allocation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(u128);

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest quantity.
    pub const MAX: Self = Self(u128::MAX);

    /// A quantity of this many units.
    pub const fn new(units: u128) -> Self {
        Self(units)
    }

    /// The number of units.
    pub const fn units(self) -> u128 {
        self.0
    }

    /// Whether it is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum.
    ///
    /// # Errors
    /// When it is more than [`Quantity::MAX`].
    pub fn plus(self, other: Self) -> Result<Self, Error> {
        self.0.checked_add(other.0).map(Self).ok_or_else(|| {
            Error::new(format!("{self} and {other} together are more than the largest quantity, {}", Self::MAX))
        })
    }

    /// The difference.
    ///
    /// # Errors
    /// When `other` is more than this.
    pub fn minus(self, other: Self) -> Result<Self, Error> {
        self.checked_minus(other).ok_or_else(|| Error::new(format!("{self} is less than {other}")))
    }

    /// The difference, or nothing when `other` is more than this.
    pub fn checked_minus(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// This, times `numerator`, divided by `denominator`, rounded down: a share, a price, a fee. Exact however large the
    /// product in between is.
    ///
    /// # Errors
    /// When the result is more than [`Quantity::MAX`], or `denominator` is zero.
    pub fn times_ratio(self, numerator: Self, denominator: Self) -> Result<Self, Error> {
        let exact = if denominator.is_zero() {
            None
        } else {
            let (high, low) = product(self.0, numerator.0);
            quotient(high, low, denominator.0)
        };
        exact.map(Self).ok_or_else(|| {
            Error::new(format!("{self} times {numerator} divided by {denominator} is no quantity up to {}", Self::MAX))
        })
    }
}

/// The 256 bits of a product, high and low.
fn product(a: u128, b: u128) -> (u128, u128) {
    const HALF: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & HALF, b >> 64, b & HALF);
    let low = a0 * b0;
    let (cross, carry) = (a1 * b0).overflowing_add(a0 * b1);
    let (low, overflow) = low.overflowing_add(cross << 64);
    let high = a1 * b1 + (cross >> 64) + (u128::from(carry) << 64) + u128::from(overflow);
    (high, low)
}

/// 256 bits divided by 128, if that fits 128.
fn quotient(high: u128, low: u128, divisor: u128) -> Option<u128> {
    if high == 0 {
        return low.checked_div(divisor);
    }
    if high >= divisor {
        return None;
    }
    let (mut rest, mut quotient) = (high, 0);
    for bit in (0..128).rev() {
        let overflows = rest >> 127 == 1;
        rest = rest << 1 | low >> bit & 1;
        quotient <<= 1;
        if overflows || rest >= divisor {
            rest = rest.wrapping_sub(divisor);
            quotient |= 1;
        }
    }
    Some(quotient)
}

impl From<u64> for Quantity {
    fn from(units: u64) -> Self {
        Self(units.into())
    }
}

impl From<u128> for Quantity {
    fn from(units: u128) -> Self {
        Self(units)
    }
}

impl FromStr for Quantity {
    type Err = Error;

    /// Decimal digits and nothing else.
    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().map(Self).ok_or_else(|| {
            Error::new(format!(
                "expected a quantity, a whole number from 0 to {} in decimal digits, found \"{}\"",
                Self::MAX,
                excerpt(text)
            ))
        })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Sum for Quantity {
    /// The sum of quantities that are known to fit together, such as the balances of a supply; at most [`Quantity::MAX`].
    fn sum<I: Iterator<Item = Self>>(quantities: I) -> Self {
        Self(quantities.fold(0, |sum, quantity| sum.saturating_add(quantity.0)))
    }
}

/// As decimal text: JSON's numbers are not exact everywhere.
impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From decimal text, or from a whole number.
impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity in decimal digits")
            }

            fn visit_u64<E: de::Error>(self, units: u64) -> Result<Quantity, E> {
                Ok(Quantity::from(units))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(units: u128) -> Quantity {
        Quantity::new(units)
    }

    #[test]
    fn texts_are_decimal_digits_and_nothing_else() {
        let largest = u128::MAX.to_string();
        for text in ["0", "7", "21000000000000000000", largest.as_str()] {
            assert_eq!(text.parse::<Quantity>().unwrap().to_string(), text);
        }
        assert_eq!("007".parse(), Ok(quantity(7)));
        for text in ["", " 1", "-1", "+1", "1.0", "1e3", "0x1", "١", "340282366920938463463374607431768211456"] {
            let error = text.parse::<Quantity>().unwrap_err();
            assert!(error.text().contains("whole number from 0 to 340282366920938463463374607431768211455"), "{error}");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        assert_eq!(quantity(2).plus(quantity(3)), Ok(quantity(5)));
        assert!(Quantity::MAX.plus(quantity(1)).is_err());
        assert_eq!(quantity(3).minus(quantity(3)), Ok(Quantity::ZERO));
        assert_eq!(quantity(2).minus(quantity(3)).unwrap_err().text(), "2 is less than 3");
    }

    #[test]
    fn ratios_are_exact_beyond_128_bits() {
        let half = u128::MAX / 2;
        for (a, numerator, denominator, result) in [
            (10, 3, 4, Some(7)),
            (u128::MAX, u128::MAX, u128::MAX, Some(u128::MAX)),
            (u128::MAX, half, u128::MAX, Some(half)),
            (u128::MAX, 1 << 100, 1 << 101, Some(half)),
            (u128::MAX - 1, u128::MAX - 1, u128::MAX, Some(u128::MAX - 2)),
            (u128::MAX, 2, 1, None),
            (u128::MAX, u128::MAX, 1, None),
            (1, 1, 0, None),
        ] {
            let ratio = quantity(a).times_ratio(quantity(numerator), quantity(denominator));
            assert_eq!(ratio.ok(), result.map(Quantity::new), "{a} * {numerator} / {denominator}");
        }
    }

    #[test]
    fn ratios_agree_with_64_bit_arithmetic() {
        let mut random = crate::Random::from_parts(&["ratios"]);
        for _ in 0..2_000 {
            let [a, b, c] = [random.next_u64(), random.next_u64(), random.next_u64() | 1].map(u128::from);
            assert_eq!(quantity(a).times_ratio(quantity(b), quantity(c)), Ok(quantity(a * b / c)));
            // (a · 2⁶⁴) · b / (c · 2⁶⁴) goes through 192 bits.
            assert_eq!(
                quantity(a << 64).times_ratio(quantity(b), quantity(c << 64)).ok(),
                Some(quantity(a * b / c)),
                "{a} {b} {c}"
            );
        }
    }

    #[test]
    fn json_holds_them_as_text_and_takes_whole_numbers_too() {
        assert_eq!(serde_json::to_string(&Quantity::MAX).unwrap(), format!("\"{}\"", u128::MAX));
        assert_eq!(serde_json::from_str::<Quantity>("\"12\"").unwrap(), quantity(12));
        assert_eq!(serde_json::from_str::<Quantity>("12").unwrap(), quantity(12));
        assert!(serde_json::from_str::<Quantity>("1.5").is_err());
        assert!(serde_json::from_str::<Quantity>("-1").is_err());
    }
}
