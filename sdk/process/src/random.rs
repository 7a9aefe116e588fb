//! Numbers that look random and are the same on every computer.

/// A generator (xoshiro256**) that is seeded by the message being handled; see [`Context::random`](crate::Context::random).
#[derive(Debug, Clone)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// A generator whose numbers are decided by these texts.
    pub fn from_parts(parts: &[&str]) -> Self {
        // FNV-1a over the texts and their ends, spread over the state by SplitMix64.
        let mut seed = 0xcbf2_9ce4_8422_2325_u64;
        for part in parts {
            for byte in part.bytes().chain([0xff]) {
                seed = (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        let state = [(); 4].map(|()| {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ mixed >> 31
        });
        Self { state }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let next = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ b << 17, d.rotate_left(45)];
        next
    }

    /// A number from 0 up to but not including `end`, each as likely as the others; 0 if `end` is.
    pub fn below(&mut self, end: u64) -> u64 {
        // Lemire's method: numbers whose product falls into the remainder are drawn again.
        let floor = end.wrapping_neg().checked_rem(end).unwrap_or(0);
        loop {
            let product = u128::from(self.next_u64()) * u128::from(end);
            if product as u64 >= floor {
                return (product >> 64) as u64;
            }
        }
    }

    /// One of these; none if there are none.
    pub fn pick<'t, T>(&mut self, of: &'t [T]) -> Option<&'t T> {
        of.get(self.below(of.len() as u64) as usize)
    }

    /// Brings these into an order, each as likely as the others.
    pub fn shuffle<T>(&mut self, these: &mut [T]) {
        for end in (1..these.len()).rev() {
            these.swap(end, self.below(end as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_texts_give_the_same_numbers_everywhere() {
        let mut random = Random::from_parts(&["process", "message"]);
        let numbers = [random.next_u64(), random.next_u64(), random.next_u64()];
        // Once published these never change: compute units replay with them.
        assert_eq!(numbers, PUBLISHED);
        assert_ne!(Random::from_parts(&["processm", "essage"]).next_u64(), numbers[0]);
    }

    /// From an independent computation.
    const PUBLISHED: [u64; 3] = [9_190_788_151_314_005_004, 12_699_759_193_406_435_661, 15_319_090_116_878_240_942];

    #[test]
    fn numbers_below_an_end_are_spread_evenly() {
        let mut random = Random::from_parts(&["dice"]);
        let mut counts = [0_u32; 6];
        for _ in 0..60_000 {
            counts[random.below(6) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        assert_eq!((random.below(1), random.below(0)), (0, 0));
    }

    #[test]
    fn shuffling_keeps_everything_and_reaches_every_order() {
        let mut random = Random::from_parts(&["cards"]);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let mut cards = [1, 2, 3];
            random.shuffle(&mut cards);
            seen.insert(cards);
        }
        assert_eq!(seen.len(), 6);
        assert_eq!(random.pick::<u8>(&[]), None);
        assert!([4, 5].contains(random.pick(&[4, 5]).unwrap()));
    }
}
