//! Codes people read to each other: the privacy code of a call and the verification code of two users.
//!
//! Discord's words: <https://daveprotocol.com/#displayable-codes>.

use scrypt::Params;

/// Turns `data` into `digits` decimal digits in groups of `group`; `None` if `data` is too short or the groups do
/// not fit.
pub fn displayable_code(data: &[u8], digits: usize, group: usize) -> Option<String> {
    if group == 0 || group >= 8 || !digits.is_multiple_of(group) || data.len() < digits {
        return None;
    }
    let modulus = 10u64.pow(group as u32);
    let code = data[..digits].chunks(group).map(|bytes| {
        let number = bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        format!("{:0group$}", number % modulus)
    });
    Some(code.collect())
}

/// The 30 digits all members of a call see, from the epoch authenticator of its group.
pub fn privacy_code(epoch_authenticator: &[u8]) -> Option<String> {
    displayable_code(epoch_authenticator, 30, 5)
}

/// The 45 digits two users compare, each given as signature key and user id; the order does not matter.
///
/// This runs scrypt with 16 MiB, on purpose slow.
pub fn verification_code(one: (&[u8], u64), other: (&[u8], u64)) -> Option<String> {
    displayable_code(&pairwise_fingerprint(one, other)?, 45, 5)
}

fn pairwise_fingerprint(one: (&[u8], u64), other: (&[u8], u64)) -> Option<[u8; 64]> {
    let mut sides = [fingerprint(one), fingerprint(other)];
    sides.sort();
    let params = Params::new(SCRYPT_LOG_N, 8, 2, 64).ok()?;
    let mut output = [0; 64];
    scrypt::scrypt(&sides.concat(), &SALT, &params, &mut output).ok()?;
    Some(output)
}

/// Version 0, public key, user id.
fn fingerprint((key, user): (&[u8], u64)) -> Vec<u8> {
    [&[0, 0], key, &user.to_be_bytes()].concat()
}

/// N = 16384.
const SCRYPT_LOG_N: u8 = 14;
const SALT: [u8; 16] =
    [0x24, 0xca, 0xb1, 0x7a, 0x7a, 0xf8, 0xec, 0x2b, 0x82, 0xb4, 0x12, 0xb9, 0x2d, 0xab, 0x19, 0x2e];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dave::hex;

    #[test]
    fn codes_are_those_of_the_published_vectors() {
        let code = |data, digits| displayable_code(&hex(data), digits, 5).unwrap();
        assert_eq!(code("aabbccddee", 5), "05870");
        assert_eq!(
            code("aabbccddeebbccddeeffccddeeffaaddeeffaabbeeffaabbccffaabbccdd", 30),
            "058708105556138052119572494877"
        );
        let authenticator = hex("311d97c97f315a0eda932e28b60cdfcfa73b548de2cf4d4ec11933cd86c80fff");
        assert_eq!(privacy_code(&authenticator).unwrap(), "842872040315103136135904189800");
    }

    #[test]
    fn the_pairwise_code_is_that_of_the_published_vector_from_either_side() {
        let (one, other) = ((&[0u8; 33][..], 1234), (&[0u8; 65][..], 5678));
        let fingerprint = hex(concat!(
            "8581f12c24874fc31b1c97457cc5bd29c007102d4ff78a3a7ea1b2880c6d60a4",
            "a95c02e888ae4a9cad90bfb8222df28829850e9e774fcc3006dc7906f20ba43c"
        ));
        assert_eq!(pairwise_fingerprint(one, other).unwrap().to_vec(), fingerprint);
        let code = "167087148466685475014767895181229783641225826";
        assert_eq!(verification_code(other, one).as_deref(), Some(code));
    }

    #[test]
    fn too_little_data_or_odd_groups_make_no_code() {
        assert_eq!(displayable_code(&[1; 29], 30, 5), None);
        assert_eq!(displayable_code(&[1; 32], 31, 5), None);
        assert_eq!(displayable_code(&[1; 32], 16, 8), None);
        assert_eq!(displayable_code(&[1; 32], 16, 0), None);
    }
}
