//! Shapes by hand, and every way to break them.

use super::*;
use crate::transport::dave::tests::support::hex;

/// A Remove of leaf 2, group 0102030405060708, epoch 3, from external sender 0, with a 3-byte signature.
const REMOVE: &str =
    "0001 0001 08 0102030405060708 0000000000000003 02 00000000 00 02 0003 00000002 03 aabbcc";

#[test]
fn op_27_is_told_apart_into_its_messages() {
    let remove = hex(REMOVE);
    let mut payload = vec![0];
    push_vector(&[&remove[..], &remove].concat(), &mut payload);
    let Ok(Proposals::Append(messages)) = proposals(&payload) else { panic!("not read") };
    let [first, second] = messages[..] else { panic!("not two messages") };
    assert_eq!((first.group, first.epoch), (&[1, 2, 3, 4, 5, 6, 7, 8][..], 3));
    assert_eq!((first.sender, first.content), (Sender::External, Content::Remove(2)));
    assert_eq!((first.bytes, second.bytes), (&remove[..], &remove[..]));
}

#[test]
fn op_27_revokes_references_of_32_bytes() {
    let payload = hex(&format!("01 21 20 {}", "5a".repeat(32)));
    assert_eq!(proposals(&payload), Ok(Proposals::Revoke(vec![[0x5a; 32]])));
    assert_eq!(proposals(&hex("01 03 02 5a5a")), Err(Malformed));
}

#[test]
fn the_live_external_sender_has_the_right_shape() {
    let live = hex(&format!("4041 04{} 0001 0100", "11".repeat(64)));
    assert_eq!(live.len(), 71);
    assert_eq!(external_sender(&live), Ok(()));
    assert_eq!(external_sender(&live[..70]), Err(Malformed));
}

#[test]
fn a_welcome_is_bare() {
    assert_eq!(welcome(&hex("0002 07 02 aaaa 01 bb 01 cc 01 dd")), Ok(()));
    assert_eq!(welcome(&hex("0001 0003 0002 07 02 aaaa 01 bb 01 cc 01 dd")), Err(Malformed));
}

#[test]
fn every_cut_and_every_illegal_length_is_malformed() {
    let remove = hex(REMOVE);
    let mut payload = vec![0];
    push_vector(&remove, &mut payload);
    for end in 0..payload.len() {
        assert_eq!(proposals(&payload[..end]), Err(Malformed), "cut at {end}");
    }
    for prefix in ["c0", "ff", "4005", "80000005", "bfffffff"] {
        assert_eq!(proposals(&hex(&format!("00{prefix}"))), Err(Malformed), "{prefix}");
    }
    assert_eq!(proposals(&[&payload[..], &[0]].concat()), Err(Malformed), "something trails");
    assert_eq!(proposals(&hex("02 00")), Err(Malformed), "unknown operation");
}

#[test]
fn a_length_that_could_be_shorter_is_malformed() {
    let remove = hex(REMOVE);
    let good = [&[0, remove.len() as u8], &remove[..]].concat();
    assert!(proposals(&good).is_ok());
    let long = [&[0, 0x40, remove.len() as u8], &remove[..]].concat();
    assert_eq!(proposals(&long), Err(Malformed));
    let longer = [&[0, 0x80, 0, 0, remove.len() as u8], &remove[..]].concat();
    assert_eq!(proposals(&longer), Err(Malformed));
}

#[test]
fn a_leaf_has_whole_capabilities_and_no_registered_extension() {
    let leaf = |capabilities: &str, extensions: &str| {
        let leaf = hex(&format!("01aa 01bb 0001 08 000000000000002a {capabilities} 02 {extensions} 01cc"));
        leaf_node(&mut Reader(&leaf))
    };
    assert_eq!(leaf("020001 020002 00 00 020001", "00"), Ok(UserId(42)));
    assert_eq!(
        leaf("020001 020002 040a0a1a1a 00 020001", "040a0a 01ff"),
        Ok(UserId(42)),
        "unknown ones pass"
    );
    assert_eq!(leaf("03000102 020002 00 00 020001", "00"), Err(Malformed), "half a version");
    for registered in ["0001", "0005", "000a", "00ff"] {
        let extensions = format!("04{registered} 01ff");
        assert_eq!(leaf("020001 020002 00 00 020001", &extensions), Err(Malformed), "{registered}");
    }
}

#[test]
fn a_vector_has_the_shortest_prefix() {
    for (length, prefix) in [(0, "00"), (63, "3f"), (64, "4040"), (16383, "7fff"), (16384, "80004000")] {
        let mut written = Vec::new();
        push_vector(&vec![7; length], &mut written);
        assert_eq!(written[..written.len() - length], hex(prefix));
        assert_eq!(Reader(&written).vector().map(<[u8]>::len), Ok(length));
    }
}
