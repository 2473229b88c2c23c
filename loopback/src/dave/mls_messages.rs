//! The MLS messages DAVE uses, taken apart down to the last byte, without any cryptography.
//!
//! Only what DAVE allows has a shape here: PublicMessage, proposals Add and Remove from an external sender, commits
//! of references, basic credentials of 8 bytes, no extensions in leaves
//! (<https://daveprotocol.com/#validation>). What the delivery service checks of a commit it reads from these.

use super::mls_codec::{Malformed, Reader, Reference, reference, write_vector};

/// A key package, whose signatures nobody has verified yet.
pub(crate) struct KeyPackage<'a> {
    pub(crate) leaf: Leaf<'a>,
    /// All its bytes.
    pub(crate) bytes: &'a [u8],
}

/// A member's leaf of the tree, as found in a key package or in the path of a commit.
pub(crate) struct Leaf<'a> {
    pub(crate) user: u64,
    pub(crate) signature_key: &'a [u8],
    /// `not_before` and `not_after`, in key packages only.
    pub(crate) lifetime: Option<(u64, u64)>,
}

/// A proposal of the external sender.
pub(crate) struct ProposalMessage<'a> {
    pub(crate) group: u64,
    pub(crate) epoch: u64,
    pub(crate) proposal: Proposal<'a>,
    /// The whole MLSMessage.
    pub(crate) bytes: &'a [u8],
}

/// What a proposal wants.
pub(crate) enum Proposal<'a> {
    Add(KeyPackage<'a>),
    Remove,
}

/// A commit of a member.
pub(crate) struct Commit<'a> {
    pub(crate) group: u64,
    pub(crate) epoch: u64,
    /// The leaf index the sender claims.
    pub(crate) sender: u32,
    pub(crate) references: Vec<Reference>,
    pub(crate) path: Option<Leaf<'a>>,
    /// The whole MLSMessage.
    pub(crate) bytes: &'a [u8],
}

/// A welcome for one or several new members.
pub(crate) struct Welcome<'a> {
    /// Key package reference, and the whole entry that goes to its owner.
    secrets: Vec<(Reference, &'a [u8])>,
    group_info: &'a [u8],
}

impl<'a> KeyPackage<'a> {
    /// Reads exactly one bare key package.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let key_package = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(key_package)
    }

    /// The hash a welcome names it by.
    pub(crate) fn reference(&self) -> Reference {
        reference("MLS 1.0 KeyPackage Reference", self.bytes)
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let start = *reader;
        expect_u16(reader, 1, "version MLS 1.0")?;
        expect_u16(reader, SUITE, "cipher suite 2")?;
        public_key(reader)?;
        let leaf = Leaf::read(reader)?;
        if leaf.lifetime.is_none() {
            return Err(Malformed("a key package's leaf"));
        }
        no_extensions(reader)?;
        reader.vector()?;
        Ok(Self { leaf, bytes: reader.since(start) })
    }
}

impl<'a> Leaf<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        public_key(reader)?;
        let signature_key = public_key(reader)?;
        expect_u16(reader, 1, "a basic credential")?;
        let user = u64::from_be_bytes(reader.sized_vector()?);
        capabilities(reader)?;
        let lifetime = match reader.u8()? {
            1 => Some((reader.u64()?, reader.u64()?)),
            3 => reader.vector().map(|_parent_hash| None)?,
            _ => return Err(Malformed("a leaf of a key package or of a commit")),
        };
        no_extensions(reader)?;
        reader.vector()?;
        Ok(Self { user, signature_key, lifetime })
    }
}

impl<'a> ProposalMessage<'a> {
    /// Reads the concatenated messages of an append, without the vector's length.
    pub(crate) fn parse_all(mut reader: Reader<'a>) -> Result<Vec<Self>, Malformed> {
        let mut messages = Vec::new();
        while !reader.is_empty() {
            messages.push(Self::read(&mut reader)?);
        }
        Ok(messages)
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let start = *reader;
        let header = Header::read(reader)?;
        if (header.sender, header.content) != (Sender::External(0), CONTENT_PROPOSAL) {
            return Err(Malformed("a proposal of the external sender"));
        }
        let proposal = match reader.u16()? {
            1 => Proposal::Add(KeyPackage::read(reader)?),
            3 => reader.u32().map(|_leaf| Proposal::Remove)?,
            _ => return Err(Malformed("Add or Remove")),
        };
        reader.vector()?;
        Ok(Self { group: header.group, epoch: header.epoch, proposal, bytes: reader.since(start) })
    }
}

impl<'a> Commit<'a> {
    /// Reads one commit from the front.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let start = *reader;
        let header = Header::read(reader)?;
        let Sender::Member(sender) = header.sender else { return Err(Malformed("a commit of a member")) };
        if header.content != CONTENT_COMMIT {
            return Err(Malformed("a commit"));
        }
        let references = committed(reader.inner()?)?;
        let path = match reader.u8()? {
            0 => None,
            1 => Some(update_path(reader)?),
            _ => return Err(Malformed("an optional path")),
        };
        reader.vector()?;
        reader.sized_vector::<32>()?;
        reader.sized_vector::<32>()?;
        let bytes = reader.since(start);
        Ok(Self { group: header.group, epoch: header.epoch, sender, references, path, bytes })
    }
}

impl<'a> Welcome<'a> {
    /// Reads exactly one bare welcome.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        expect_u16(&mut reader, SUITE, "cipher suite 2")?;
        let mut entries = reader.inner()?;
        let mut secrets = Vec::new();
        while !entries.is_empty() {
            let start = entries;
            let key_package = entries.sized_vector()?;
            entries.vector()?;
            entries.vector()?;
            secrets.push((key_package, entries.since(start)));
        }
        let group_info = reader.vector()?;
        reader.finish()?;
        Ok(Self { secrets, group_info })
    }

    /// The key packages it welcomes.
    pub(crate) fn references(&self) -> impl Iterator<Item = Reference> + '_ {
        self.secrets.iter().map(|(key_package, _)| *key_package)
    }

    /// The same welcome with the secret of one new member only.
    pub(crate) fn only(&self, key_package: &Reference) -> Option<Vec<u8>> {
        let (_, entry) = self.secrets.iter().find(|(one, _)| one == key_package)?;
        let mut bytes = SUITE.to_be_bytes().to_vec();
        write_vector(&mut bytes, entry);
        write_vector(&mut bytes, self.group_info);
        Some(bytes)
    }
}

/// Reads the references of a revoke, without the vector's length.
pub(crate) fn references(mut reader: Reader<'_>) -> Result<Vec<Reference>, Malformed> {
    let mut references = Vec::new();
    while !reader.is_empty() {
        references.push(reader.sized_vector()?);
    }
    Ok(references)
}

/// The hash a commit names a proposal by, from its MLSMessage.
pub(crate) fn proposal_reference(message: &[u8]) -> Reference {
    // The hash is over the authenticated content, which is the message after the version.
    reference("MLS 1.0 Proposal Reference", message.get(2..).unwrap_or_default())
}

/// Checks the shape of an external sender.
pub(crate) fn external_sender(bytes: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader::new(bytes);
    public_key(&mut reader)?;
    expect_u16(&mut reader, 1, "a basic credential")?;
    reader.vector()?;
    reader.finish()
}

/// What proposals and commits begin with.
struct Header {
    group: u64,
    epoch: u64,
    sender: Sender,
    content: u8,
}

#[derive(PartialEq)]
enum Sender {
    Member(u32),
    External(u32),
}

impl Header {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        expect_u16(reader, 1, "version MLS 1.0")?;
        expect_u16(reader, 1, "a public message")?;
        let group = u64::from_be_bytes(reader.sized_vector()?);
        let epoch = reader.u64()?;
        let sender = match reader.u8()? {
            1 => Sender::Member(reader.u32()?),
            2 => Sender::External(reader.u32()?),
            _ => return Err(Malformed("a member or an external sender")),
        };
        reader.sized_vector::<0>()?;
        Ok(Self { group, epoch, sender, content: reader.u8()? })
    }
}

/// The proposals of a commit; each must be a reference.
fn committed(mut reader: Reader<'_>) -> Result<Vec<Reference>, Malformed> {
    let mut references = Vec::new();
    while !reader.is_empty() {
        if reader.u8()? != 2 {
            return Err(Malformed("a proposal by reference"));
        }
        references.push(reader.sized_vector()?);
    }
    Ok(references)
}

fn update_path<'a>(reader: &mut Reader<'a>) -> Result<Leaf<'a>, Malformed> {
    let leaf = Leaf::read(reader)?;
    if leaf.lifetime.is_some() {
        return Err(Malformed("a commit's leaf"));
    }
    let mut nodes = reader.inner()?;
    while !nodes.is_empty() {
        public_key(&mut nodes)?;
        let mut secrets = nodes.inner()?;
        while !secrets.is_empty() {
            secrets.vector()?;
            secrets.vector()?;
        }
    }
    Ok(leaf)
}

/// Five lists of numbers of two bytes; DAVE's own version, suite and credential type must be among them.
fn capabilities(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    for required in [Some(1), Some(SUITE), None, None, Some(1)] {
        let mut list = reader.inner()?;
        let mut missing = required;
        while !list.is_empty() {
            let value = list.u16()?;
            missing = missing.filter(|required| *required != value);
        }
        if missing.is_some() {
            return Err(Malformed("the capabilities of DAVE"));
        }
    }
    Ok(())
}

fn no_extensions(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    reader.sized_vector::<0>().map(|_| ()).map_err(|_| Malformed("no extensions"))
}

/// An uncompressed point of P-256.
fn public_key<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let key = reader.vector()?;
    if key.len() == 65 && key[0] == 4 { Ok(key) } else { Err(Malformed("an uncompressed point")) }
}

fn expect_u16(reader: &mut Reader<'_>, value: u16, what: &'static str) -> Result<(), Malformed> {
    if reader.u16()? == value { Ok(()) } else { Err(Malformed(what)) }
}

/// DHKEM-P256, AES-128-GCM, SHA-256, ECDSA-P256.
const SUITE: u16 = 2;
const CONTENT_PROPOSAL: u8 = 2;
const CONTENT_COMMIT: u8 = 3;
