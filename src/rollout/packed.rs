//! Frozen lists, packed: two to four bytes a device, readable again in order.
//!
//! A list is runs of one bucket each: the step to the run's bucket (zigzag), the run's length, then the steps of the row
//! numbers (zigzag), all as LEB128 varints. Row numbers of neighbours in a bucket lie about ten thousand apart in a registry of
//! any size, which is two bytes; zigzag keeps any order exactly, at no cost for a rising one.

use crate::model::{Bucket, FrozenDevice, RecordId};

/// Packs a list.
#[must_use]
pub fn pack(devices: &[FrozenDevice]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(devices.len() * 3 + 8);
    let mut bucket = 0;
    for run in devices.chunk_by(|a, b| a.bucket == b.bucket) {
        let Some(first) = run.first() else { continue };
        let next = i64::from(first.bucket.get());
        write(&mut bytes, zigzag(next - bucket));
        write(&mut bytes, run.len() as u64);
        bucket = next;
        let mut record = 0;
        for device in run {
            write(&mut bytes, zigzag(device.record.get().wrapping_sub(record)));
            record = device.record.get();
        }
    }
    bytes
}

/// Reads a list back; `None` if the bytes are none that [`pack`] wrote.
#[must_use]
pub fn unpack(mut bytes: &[u8]) -> Option<Vec<FrozenDevice>> {
    let (mut devices, mut bucket) = (Vec::new(), 0_i64);
    while !bytes.is_empty() {
        bucket = bucket.checked_add(unzigzag(read(&mut bytes)?))?;
        let at = Bucket::new(u16::try_from(bucket).ok()?)?;
        let length = read(&mut bytes)?;
        // A run has at least a byte a device: a larger length is nonsense, and must not reserve memory.
        if length == 0 || length > bytes.len() as u64 {
            return None;
        }
        let mut record = 0_i64;
        for _ in 0..length {
            record = record.wrapping_add(unzigzag(read(&mut bytes)?));
            devices.push(FrozenDevice { bucket: at, record: RecordId::new(record) });
        }
    }
    Some(devices)
}

const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

const fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn read(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn devices(keys: &[(u16, i64)]) -> Vec<FrozenDevice> {
        let device = |&(bucket, record): &(u16, i64)| FrozenDevice {
            bucket: Bucket::new(bucket % Bucket::COUNT).expect("in range"),
            record: RecordId::new(record),
        };
        keys.iter().map(device).collect()
    }

    proptest! {
        #[test]
        fn a_list_is_read_back_as_it_was(keys in prop::collection::vec((0..10_000_u16, any::<i64>()), 0..300)) {
            let list = devices(&keys);
            prop_assert_eq!(unpack(&pack(&list)), Some(list));
        }

        #[test]
        fn bytes_of_chance_are_refused_or_read_and_never_break(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = unpack(&bytes);
        }
    }

    #[test]
    fn a_full_chunk_of_a_large_registry_takes_less_than_four_bytes_a_device() {
        // 5 million devices: 500 a bucket, one in ten thousand of the row numbers.
        let keys: Vec<(u16, i64)> =
            (0..1_000).map(|n: u16| (n / 500, i64::from(n % 500) * 10_007 + i64::from(n))).collect();
        let packed = pack(&devices(&keys));
        assert!(packed.len() <= 4_000, "{} bytes", packed.len());
        assert!(packed.len() >= 1_000);
    }
}
