//! The shape of the MLS messages in ops 25, 27, 29 and 30, checked before the MLS library reads them.
//!
//! Two reasons: the library's decoder panics in debug builds on a malformed length prefix, and what a message is about
//! (group, epoch, user) decides whether it is ours at all. Nothing here decrypts or verifies; that is the library's,
//! and what lies encrypted inside a welcome only the library can read.
//! The grammar is [RFC 9420](https://www.rfc-editor.org/rfc/rfc9420), cut down to what DAVE version 1 allows.

use ring::digest::{SHA256, digest};

use crate::id::UserId;

/// The bytes do not have the shape they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

type Result<T> = std::result::Result<T, Malformed>;

/// A public message about our group, or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// The whole MLSMessage.
    pub(super) bytes: &'a [u8],
    pub(super) group: &'a [u8],
    pub(super) epoch: u64,
    pub(super) sender: Sender,
    pub(super) content: Content,
}

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Member,
    External,
}

/// What the message proposes or does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Add(UserId),
    Remove(u32),
    Commit,
}

impl Message<'_> {
    /// The name by which commits and revocations call a proposal (`ProposalRef`, RFC 9420 section 5.2).
    pub(super) fn reference(&self) -> ProposalRef {
        proposal_ref(self.bytes)
    }
}

/// Names a proposal: the hash is over the MLSMessage without its version.
pub(super) fn proposal_ref(message: &[u8]) -> ProposalRef {
    let authenticated = message.get(2..).unwrap_or_default();
    let mut input = Vec::with_capacity(authenticated.len() + 40);
    push_vector(PROPOSAL_LABEL, &mut input);
    push_vector(authenticated, &mut input);
    let mut reference = [0; 32];
    reference.copy_from_slice(digest(&SHA256, &input).as_ref());
    reference
}

/// A proposal's name: a SHA-256.
pub(super) type ProposalRef = [u8; 32];

/// The payload of op 27.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proposals<'a> {
    Append(Vec<Message<'a>>),
    Revoke(Vec<ProposalRef>),
}

/// Reads the payload of op 27: the operation, then a vector of messages or of references.
pub(super) fn proposals(payload: &[u8]) -> Result<Proposals<'_>> {
    let mut reader = Reader(payload);
    let operation = reader.u8()?;
    let mut list = Reader(reader.vector()?);
    reader.end()?;
    match operation {
        0 => list.all(message).map(Proposals::Append),
        1 => list.all(reference).map(Proposals::Revoke),
        _ => Err(Malformed),
    }
}

/// Reads messages that follow each other.
pub(super) fn messages(bytes: &[u8]) -> Result<Vec<Message<'_>>> {
    Reader(bytes).all(message)
}

/// Reads the MLSMessage of op 29.
pub(super) fn commit(payload: &[u8]) -> Result<Message<'_>> {
    let mut reader = Reader(payload);
    let message = message(&mut reader)?;
    reader.end()?;
    if message.content == Content::Commit { Ok(message) } else { Err(Malformed) }
}

/// Checks the bare Welcome of op 30.
pub(super) fn welcome(payload: &[u8]) -> Result<()> {
    let mut reader = Reader(payload);
    reader.u16()?;
    Reader(reader.vector()?).all(|secrets| {
        secrets.vector()?;
        hpke_ciphertext(secrets)
    })?;
    reader.vector()?;
    reader.end()
}

/// Checks the ExternalSender of op 25.
pub(super) fn external_sender(payload: &[u8]) -> Result<()> {
    let mut reader = Reader(payload);
    reader.vector()?;
    credential(&mut reader)?;
    reader.end()
}

/// Writes a variable-length vector: its shortest length prefix, then the content.
pub(super) fn push_vector(content: &[u8], out: &mut Vec<u8>) {
    let length = content.len();
    match length {
        0..=0x3f => out.push(length as u8),
        0x40..=0x3fff => out.extend_from_slice(&(length as u16 | 0x4000).to_be_bytes()),
        _ => out.extend_from_slice(&(length as u32 | 0x8000_0000).to_be_bytes()),
    }
    out.extend_from_slice(content);
}

fn reference(reader: &mut Reader<'_>) -> Result<ProposalRef> {
    reader.vector()?.try_into().map_err(|_| Malformed)
}

/// MLSMessage with a PublicMessage in it (sections 6 and 6.2).
fn message<'a>(reader: &mut Reader<'a>) -> Result<Message<'a>> {
    let start = reader.0;
    reader.expect(MLS_10)?;
    reader.expect(PUBLIC_MESSAGE)?;
    let group = reader.vector()?;
    let epoch = reader.u64()?;
    let sender = match reader.u8()? {
        1 => Sender::Member,
        2 => Sender::External,
        _ => return Err(Malformed),
    };
    reader.u32()?;
    reader.vector()?;
    let content = match reader.u8()? {
        2 => proposal(reader)?,
        3 => commit_body(reader)?,
        _ => return Err(Malformed),
    };
    reader.vector()?; // signature
    if content == Content::Commit {
        reader.vector()?; // confirmation tag
    }
    if sender == Sender::Member {
        reader.vector()?; // membership tag
    }
    let bytes = &start[..start.len() - reader.0.len()];
    Ok(Message { bytes, group, epoch, sender, content })
}

/// Proposal (section 12.1), of the two kinds that DAVE allows.
fn proposal(reader: &mut Reader<'_>) -> Result<Content> {
    match reader.u16()? {
        1 => key_package(reader).map(Content::Add),
        3 => reader.u32().map(Content::Remove),
        _ => Err(Malformed),
    }
}

/// Commit (section 12.4): proposals by reference, then the optional path.
fn commit_body(reader: &mut Reader<'_>) -> Result<Content> {
    Reader(reader.vector()?).all(|proposals| match proposals.u8()? {
        2 => proposals.vector(),
        _ => Err(Malformed),
    })?;
    match reader.u8()? {
        0 => {}
        1 => update_path(reader)?,
        _ => return Err(Malformed),
    }
    Ok(Content::Commit)
}

/// UpdatePath (section 7.6).
fn update_path(reader: &mut Reader<'_>) -> Result<()> {
    leaf_node(reader)?;
    Reader(reader.vector()?).all(|nodes| {
        nodes.vector()?;
        Reader(nodes.vector()?).all(hpke_ciphertext)
    })?;
    Ok(())
}

/// KeyPackage (section 10); gives its owner.
fn key_package(reader: &mut Reader<'_>) -> Result<UserId> {
    reader.expect(MLS_10)?;
    reader.u16()?; // cipher suite
    reader.vector()?; // init key
    let user = leaf_node(reader)?;
    extensions(reader)?;
    reader.vector()?; // signature
    Ok(user)
}

/// LeafNode (section 7.2); gives its owner.
fn leaf_node(reader: &mut Reader<'_>) -> Result<UserId> {
    reader.vector()?; // encryption key
    reader.vector()?; // signature key
    let identity = credential(reader)?;
    for _capability in 0..5 {
        if !reader.vector()?.len().is_multiple_of(2) {
            return Err(Malformed);
        }
    }
    match reader.u8()? {
        1 => drop(reader.take(16)?),
        2 => {}
        3 => drop(reader.vector()?),
        _ => return Err(Malformed),
    }
    extensions(reader)?;
    reader.vector()?; // signature
    let identity = identity.try_into().map_err(|_| Malformed)?;
    Ok(UserId(u64::from_be_bytes(identity)))
}

/// Credential (section 5.3), basic ones only.
fn credential<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8]> {
    reader.expect(BASIC_CREDENTIAL)?;
    reader.vector()
}

/// Extensions of a leaf or key package: DAVE has none. Those nobody knows are let through, as the RFC wants; the
/// registered ones have an inner shape of their own and do not belong here.
fn extensions(reader: &mut Reader<'_>) -> Result<()> {
    Reader(reader.vector()?).all(|list| {
        let kind = list.u16()?;
        list.vector()?;
        if kind <= LAST_REGISTERED_EXTENSION { Err(Malformed) } else { Ok(()) }
    })?;
    Ok(())
}

/// HPKECiphertext (section 7.6).
fn hpke_ciphertext(reader: &mut Reader<'_>) -> Result<()> {
    reader.vector()?;
    reader.vector()?;
    Ok(())
}

/// Reads big-endian numbers and variable-length vectors off the front of a slice.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn expect(&mut self, value: u16) -> Result<()> {
        if self.u16()? == value { Ok(()) } else { Err(Malformed) }
    }

    /// Reads a vector whose length has the shortest prefix of 1, 2 or 4 bytes (section 2.1.2).
    fn vector(&mut self) -> Result<&'a [u8]> {
        let first = *self.0.first().ok_or(Malformed)?;
        let (length, least) = match first >> 6 {
            0 => (usize::from(self.u8()?), 0),
            1 => (usize::from(self.u16()? & 0x3fff), 0x40),
            2 => (self.u32()? as usize & 0x3fff_ffff, 0x4000),
            _ => return Err(Malformed),
        };
        if length < least { Err(Malformed) } else { self.take(length) }
    }

    /// Reads items until nothing is left.
    fn all<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        while !self.0.is_empty() {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// ProtocolVersion mls10 (section 6).
const MLS_10: u16 = 1;

/// WireFormat mls_public_message (section 17.2).
const PUBLIC_MESSAGE: u16 = 1;

/// CredentialType basic (section 17.5).
const BASIC_CREDENTIAL: u16 = 1;

/// Extension types up to here are, or may come to be, IANA's (section 17.3).
const LAST_REGISTERED_EXTENSION: u16 = 0xff;

/// What proposals are hashed with (section 5.2).
const PROPOSAL_LABEL: &[u8] = b"MLS 1.0 Proposal Reference";

#[cfg(test)]
mod tests;
