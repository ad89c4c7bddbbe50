//! The Merkle tree of RFC 6962: leaf and node hashes, and a frontier that grows it one leaf at a time.
//!
//! The frontier is all a writer needs: one hash per set bit of the tree's size. Every eighth level's complete hashes
//! are handed out as they appear; with the leaf hashes they suffice for any proof (`proof.rs`) and are what tiles
//! hold (`tiles.rs`).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use data_encoding::{BASE64, HEXLOWER};

/// Levels of the tree that one tile covers (C2SP `tlog-tiles`).
pub const TILE_HEIGHT: u8 = 8;

/// The hash of a leaf or an inner node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeHash([u8; 32]);

impl TreeHash {
    /// A hash from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash of a leaf with these bytes: SHA-256 over `0x00` and them.
    #[must_use]
    pub fn leaf(bytes: &[u8]) -> Self {
        sha256(&[&[0], bytes])
    }

    /// The hash of an inner node: SHA-256 over `0x01` and both children.
    #[must_use]
    pub fn node(left: &Self, right: &Self) -> Self {
        sha256(&[&[1], &left.0, &right.0])
    }

    /// The root of a tree without leaves: SHA-256 over nothing.
    #[must_use]
    pub fn empty() -> Self {
        sha256(&[])
    }

    /// As standard base64, the form checkpoints use.
    #[must_use]
    pub fn to_base64(self) -> String {
        BASE64.encode(&self.0)
    }

    /// Reads standard base64 of exactly 32 bytes.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        super::note::from_base64(text)?.try_into().ok().map(Self)
    }
}

impl FromStr for TreeHash {
    type Err = data_encoding::DecodeError;
    /// Reads 64 lower-case hex digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = data_encoding::DecodeError { position: 0, kind: data_encoding::DecodeKind::Length };
        HEXLOWER.decode(text.as_bytes())?.try_into().map(Self).map_err(|_| wrong)
    }
}

impl fmt::Display for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The right edge of a growing tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees, largest first: one for each set bit of `size`.
    peaks: Vec<TreeHash>,
}

/// A complete node at a level that tiles hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileNode {
    /// Its tile level: the tree level divided by [`TILE_HEIGHT`]; 1 or more (leaves are known to the caller).
    pub level: u8,
    /// Its index at that level, from 0.
    pub index: u64,
    /// Its hash.
    pub hash: TreeHash,
}

impl Frontier {
    /// How many leaves the tree has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf. Returns the nodes it completes at levels that tiles hold.
    pub fn push(&mut self, leaf: TreeHash) -> Vec<TileNode> {
        let mut completed = Vec::new();
        let mut hash = leaf;
        let mut level: u8 = 0;
        // Each trailing one bit of the size is a finished left sibling.
        let mut siblings = self.size;
        while siblings & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = TreeHash::node(&left, &hash);
            level += 1;
            siblings >>= 1;
            if level.is_multiple_of(TILE_HEIGHT) {
                completed.push(TileNode { level: level / TILE_HEIGHT, index: self.size >> level, hash });
            }
        }
        self.peaks.push(hash);
        self.size += 1;
        completed
    }

    /// The tree's root.
    #[must_use]
    pub fn root(&self) -> TreeHash {
        let mut peaks = self.peaks.iter().rev();
        let Some(smallest) = peaks.next() else { return TreeHash::empty() };
        peaks.fold(*smallest, |right, left| TreeHash::node(left, &right))
    }
}

fn sha256(parts: &[&[u8]]) -> TreeHash {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut bytes = [0; 32];
    // SHA-256 gives 32 bytes: both sides of this copy are that long.
    bytes.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    TreeHash(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leaves of the reference test of Certificate Transparency, and the roots of their prefixes.
    #[test]
    fn roots_are_those_of_the_reference() {
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Frontier::default();
        assert_eq!(
            tree.root().to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for (leaf, root) in leaves.iter().zip(roots) {
            tree.push(TreeHash::leaf(leaf));
            assert_eq!(tree.root().to_string(), root, "at size {}", tree.size());
        }
    }

    #[test]
    fn the_256th_leaf_completes_a_tile_and_the_65536th_two() {
        let mut tree = Frontier::default();
        for n in 1..=65_536_u64 {
            let completed = tree.push(TreeHash::leaf(&n.to_be_bytes()));
            match n {
                65_536 => {
                    assert_eq!(completed.len(), 2);
                    assert_eq!((completed[1].level, completed[1].index), (2, 0));
                    assert_eq!(completed[1].hash, tree.root());
                }
                n if n % 256 == 0 => {
                    assert_eq!(completed.len(), 1);
                    assert_eq!((completed[0].level, completed[0].index), (1, n / 256 - 1));
                }
                _ => assert!(completed.is_empty()),
            }
        }
    }
}
