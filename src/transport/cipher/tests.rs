//! Every mode against packets made by other implementations.
//!
//! All are of sequence 0x0102, timestamp 0x03040506, SSRC 0x0708090a and the frame `f8fffe`, under the key 00
//! 01 … 1f with the nonce 1; only the packet of `xsalsa20_poly1305_suffix` to open shows its 24 bytes of nonce.
//! The AEAD ones were made with Python's `cryptography` 48 (`AESGCM`) and PyNaCl 1.6.2
//! (`crypto_aead_xchacha20poly1305_ietf_encrypt`), the others with PyNaCl 1.6.2 (`crypto_secretbox`).

use super::*;
use crate::transport::rtp::Header;
use crate::transport::tests::{key, unhex};

const HEADER: &str = "80780102030405060708090a";

struct Vector {
    mode: Mode,
    packet: &'static str,
    /// What is encrypted: the rest of the header, the frame and the padding.
    plain: &'static str,
}

/// Packets without extension, which we seal ourselves.
const SEALED: &[Vector] = &[
    Vector {
        mode: Mode::Aes256GcmRtpsize,
        packet: "80780102030405060708090abcc93366230adb18a21518dcc81d22e4a9cb5000000001",
        plain: "f8fffe",
    },
    Vector {
        mode: Mode::XChaCha20Poly1305Rtpsize,
        packet: "80780102030405060708090af158afc25503a236d98e15b92ce8fc41529cbf00000001",
        plain: "f8fffe",
    },
    #[cfg(feature = "retired-modes")]
    Vector {
        mode: Mode::XSalsa20Poly1305LiteRtpsize,
        packet: "80780102030405060708090a373c50ba1774f0dedb75d5fd7d64251236542b00000001",
        plain: "f8fffe",
    },
    #[cfg(feature = "retired-modes")]
    Vector {
        mode: Mode::Aes256Gcm,
        packet: "80780102030405060708090abcc93366230adb18a21518dcc81d22e4a9cb5000000001",
        plain: "f8fffe",
    },
    #[cfg(feature = "retired-modes")]
    Vector {
        mode: Mode::XSalsa20Poly1305Lite,
        packet: "80780102030405060708090a373c50ba1774f0dedb75d5fd7d64251236542b00000001",
        plain: "f8fffe",
    },
    #[cfg(feature = "retired-modes")]
    Vector {
        mode: Mode::XSalsa20Poly1305Suffix,
        packet: "80780102030405060708090a373c50ba1774f0dedb75d5fd7d64251236542b\
                 000000010000000000000000000000000000000000000000",
        plain: "f8fffe",
    },
    #[cfg(feature = "retired-modes")]
    Vector {
        mode: Mode::XSalsa20Poly1305,
        packet: "80780102030405060708090ab88f980045a76177fe70bfe7f7eed72b5ca6ef",
        plain: "f8fffe",
    },
];

/// Packets with extension `bede0001` `10ff9002`, some with CSRCs 10 and 11 and four bytes of padding.
const EXTENDED: &[Vector] = &[
    Vector {
        mode: Mode::Aes256GcmRtpsize,
        packet: "90780102030405060708090abede000154c95da8f4a50a236392fc8e46c2d7ef022da1c4c122d600000001",
        plain: "10ff9002f8fffe",
    },
    Vector {
        mode: Mode::Aes256GcmRtpsize,
        packet: "b0780102030405060708090abede000154c95da8f4a50aa85f3c61d5399d4501e5334ca6f807f38141b89200000001",
        plain: "10ff9002f8fffe00000004",
    },
    Vector {
        mode: Mode::Aes256GcmRtpsize,
        packet: "b2780102030405060708090a0000000a0000000bbede0001\
                 54c95da8f4a50aa85f3c61f307d1b1f3f6c5c2d0d11f8b5934f7db00000001",
        plain: "10ff9002f8fffe00000004",
    },
    Vector {
        mode: Mode::XChaCha20Poly1305Rtpsize,
        packet: "90780102030405060708090abede00011958c12297ff6f2ef75eced68981a974c092e2860a7c5100000001",
        plain: "10ff9002f8fffe",
    },
    Vector {
        mode: Mode::XChaCha20Poly1305Rtpsize,
        packet: "b2780102030405060708090a0000000a0000000bbede0001\
                 1958c12297ff6fdfcee7a33522cc8de9399c0ba35c44079611347000000001",
        plain: "10ff9002f8fffe00000004",
    },
    #[cfg(feature = "retired-modes")]
    Vector {
        mode: Mode::XSalsa20Poly1305LiteRtpsize,
        packet: "90780102030405060708090abede0001f7673cf4dd9b7d0554f447196c094f24de54457cbf4e0900000001",
        plain: "10ff9002f8fffe",
    },
    #[cfg(feature = "retired-modes")]
    Vector {
        mode: Mode::Aes256Gcm,
        packet: "90780102030405060708090afae8cdab1ca564aaa7c39b7a2b06a615490e161b05c9e24f27dce400000001",
        plain: "bede000110ff9002f8fffe",
    },
    #[cfg(feature = "retired-modes")]
    Vector {
        mode: Mode::XSalsa20Poly1305Lite,
        packet: "90780102030405060708090a9de113250210ae0ac05ddc79274bf9117075d57f574e6751fa173a00000001",
        plain: "bede000110ff9002f8fffe",
    },
    #[cfg(feature = "retired-modes")]
    Vector {
        mode: Mode::XSalsa20Poly1305Suffix,
        packet: "80780102030405060708090aeeb90c18d6973e48f24ca381fa6ef217d05c09\
                 e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7",
        plain: "f8fffe",
    },
    #[cfg(feature = "retired-modes")]
    Vector {
        mode: Mode::XSalsa20Poly1305,
        packet: "90780102030405060708090a679c53a3d484514a17aa3abf700532fd5bb32b272c2603bd54c89b",
        plain: "bede000110ff9002f8fffe",
    },
];

fn cipher(mode: Mode) -> Cipher {
    Cipher::new(mode, &key(), 1)
}

#[test]
fn a_sealed_packet_is_the_vector_byte_for_byte() {
    for Vector { mode, packet, plain } in SEALED {
        let mut sealed = unhex(&[HEADER, plain].concat());
        cipher(*mode).seal(&mut sealed, FIXED_HEADER).unwrap();
        assert_eq!(sealed, unhex(packet), "{mode}");
        assert_eq!(sealed.len(), 12 + 3 + mode.overhead(), "{mode}");
    }
}

#[test]
fn every_mode_has_a_vector_to_seal_and_one_to_open() {
    for &mode in Mode::ALL {
        assert!(SEALED.iter().any(|vector| vector.mode == mode), "{mode}");
        assert!(EXTENDED.iter().any(|vector| vector.mode == mode), "{mode}");
    }
}

#[test]
fn every_vector_opens_in_place_to_its_frame() {
    for Vector { mode, packet, plain } in SEALED.iter().chain(EXTENDED) {
        let mut packet = unhex(packet);
        let header = Header::parse(&packet).unwrap();
        let clear = mode.clear(&header);
        let opened = cipher(*mode).open(&mut packet, clear).unwrap();
        let (clear, opened) = (&packet[..clear], &packet[opened]);
        assert_eq!(opened, unhex(plain), "{mode}");
        assert_eq!(opened[header.payload(clear, opened).unwrap()], [0xf8, 0xff, 0xfe], "{mode}");
    }
}

#[test]
fn every_flipped_bit_of_a_packet_is_noticed() {
    for Vector { mode, packet, .. } in
        SEALED.iter().chain(EXTENDED).filter(|it| authenticates_header(it.mode))
    {
        let packet = unhex(packet);
        let clear = mode.clear(&Header::parse(&packet).unwrap());
        for bit in 0..packet.len() * 8 {
            let mut packet = packet.clone();
            packet[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                cipher(*mode).open(&mut packet, clear),
                Err(CipherError::WrongKey),
                "{mode}, bit {bit}"
            );
        }
    }
}

/// Secretbox knows no associated data; only where the header is the nonce does it notice a changed header.
fn authenticates_header(mode: Mode) -> bool {
    mode.name().starts_with("aead") || mode.name() == "xsalsa20_poly1305"
}

#[test]
fn another_key_does_not_open_a_packet() {
    for Vector { mode, packet, .. } in SEALED {
        let mut packet = unhex(packet);
        let other = Cipher::new(*mode, &SecretKey([7; 32]), 1);
        assert_eq!(other.open(&mut packet, 12), Err(CipherError::WrongKey), "{mode}");
    }
}

#[test]
fn every_prefix_of_a_packet_is_refused() {
    for Vector { mode, packet, .. } in SEALED.iter().chain(EXTENDED) {
        let packet = unhex(packet);
        let clear = mode.clear(&Header::parse(&packet).unwrap());
        for length in 0..packet.len() {
            let too_short = length < clear + mode.overhead();
            let why = if too_short { CipherError::TooShort } else { CipherError::WrongKey };
            assert_eq!(
                cipher(*mode).open(&mut packet[..length].to_vec(), clear),
                Err(why),
                "{mode}, {length} bytes"
            );
        }
    }
}

#[test]
fn a_packet_shorter_than_its_clear_part_is_not_sealed() {
    for &mode in Mode::ALL {
        assert_eq!(cipher(mode).seal(&mut vec![0x80; 11], 12), Err(CipherError::TooShort));
        assert_eq!(cipher(mode).seal(&mut vec![0x80; 15], 16), Err(CipherError::TooShort));
    }
}

#[test]
fn the_counter_stops_before_it_would_wrap() {
    for &mode in Mode::ALL.iter().filter(|mode| mode.name() != "xsalsa20_poly1305") {
        let mut cipher = Cipher::new(mode, &key(), u32::MAX - 1);
        let plain = unhex("80780102030405060708090af8fffe");
        let mut packet = plain.clone();
        assert_eq!(cipher.seal(&mut packet, 12), Ok(()));
        assert!(cipher.open(&mut packet, 12).is_ok());
        for _ in 0..3 {
            let mut packet = plain.clone();
            assert_eq!(cipher.seal(&mut packet, 12), Err(CipherError::Exhausted), "{mode}");
            assert_eq!(packet, plain, "{mode}");
        }
        cipher.rekey(mode, &key());
        assert_eq!(
            cipher.seal(&mut plain.clone(), 12),
            Err(CipherError::Exhausted),
            "{mode}: the key is the same"
        );
        cipher.rekey(mode, &SecretKey([7; 32]));
        assert_eq!(cipher.seal(&mut plain.clone(), 12), Ok(()), "{mode}: the key is new");
    }
}

#[cfg(feature = "retired-modes")]
#[test]
fn where_the_header_is_the_nonce_a_key_lasts_one_turn_of_the_timestamp() {
    let seal = |cipher: &mut Cipher, timestamp: u32| {
        let header = [&unhex("80780102")[..], &timestamp.to_be_bytes(), &[0; 4]].concat();
        cipher.seal(&mut [&header[..], b"frame"].concat(), 12)
    };
    let mut cipher = cipher(Mode::XSalsa20Poly1305);
    assert_eq!(seal(&mut cipher, 1_000), Ok(()));
    assert_eq!(seal(&mut cipher, 1_000), Err(CipherError::Exhausted), "the same header again");
    assert_eq!(seal(&mut cipher, 1_960), Ok(()));
    assert_eq!(seal(&mut cipher, 0), Ok(()), "wrapped, not yet where it began");
    assert_eq!(seal(&mut cipher, 999), Ok(()));
    assert_eq!(seal(&mut cipher, 1_000), Err(CipherError::Exhausted), "a whole turn");
    cipher.rekey(Mode::XSalsa20Poly1305, &key());
    assert_eq!(seal(&mut cipher, 1_000), Err(CipherError::Exhausted), "the key is the same");
    cipher.rekey(Mode::XSalsa20Poly1305, &SecretKey([7; 32]));
    assert_eq!(seal(&mut cipher, 1_000), Ok(()));
}

#[test]
fn modes_are_known_by_discords_names() {
    assert_eq!("aead_aes256_gcm_rtpsize".parse(), Ok(Mode::Aes256GcmRtpsize));
    assert_eq!("aead_xchacha20_poly1305_rtpsize".parse(), Ok(Mode::XChaCha20Poly1305Rtpsize));
    for mode in Mode::ALL {
        assert_eq!(mode.to_string().parse(), Ok(*mode));
    }
    let error = "aead_aes128_gcm".parse::<Mode>().unwrap_err().to_string();
    assert!(error.contains("\"aead_aes128_gcm\"") && error.contains("retired-modes"), "{error}");
}

#[test]
fn a_cipher_prints_no_key() {
    let text = format!("{:?}", Cipher::new(Mode::XChaCha20Poly1305Rtpsize, &SecretKey([0xab; 32]), 5));
    assert_eq!(text, "Cipher { mode: XChaCha20Poly1305Rtpsize, counter: 5, .. }");
}
