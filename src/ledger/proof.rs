//! Inclusion and consistency proofs (RFC 6962 part 2.1), made from stored hashes and verified from nothing but roots.
//!
//! Making a proof reads at most a few hundred hashes through [`HashSource`], whatever the tree's size: a subtree's
//! root is computed from the nearest stored level at or below it. Verifying follows RFC 9162 parts 2.1.3.2 and
//! 2.1.4.2. Read next: `checkpoint.rs`.

use super::tree::{TILE_HEIGHT, TreeHash};

/// Where complete hashes are found.
pub trait HashSource {
    /// Why they cannot be had.
    type Error;

    /// `count` hashes from `first` at a tile level: 0 for leaves, 1 for roots of 256 leaves, and so on. Fewer only
    /// when there are not that many.
    ///
    /// # Errors
    /// When the store fails.
    fn hashes(&self, level: u8, first: u64, count: u64) -> Result<Vec<TreeHash>, Self::Error>;
}

/// Why there is no proof, or why one does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError<E> {
    /// The tree asked about does not have that entry, or is not older than the other.
    #[error("there is no entry {index} in a tree of {size}")]
    OutOfRange {
        /// The entry, or the older size.
        index: u64,
        /// The size.
        size: u64,
    },
    /// Stored hashes are missing.
    #[error("the ledger's stored hashes are incomplete: run `postern ledger verify`")]
    Incomplete,
    /// The store failed.
    #[error(transparent)]
    Source(#[from] E),
}

/// The proof that the leaf at `index` is in the tree of `size` leaves.
///
/// # Errors
/// When there is no such leaf, or hashes are missing.
pub fn inclusion_proof<S: HashSource>(
    source: &S,
    index: u64,
    size: u64,
) -> Result<Vec<TreeHash>, ProofError<S::Error>> {
    if index >= size {
        return Err(ProofError::OutOfRange { index, size });
    }
    let mut proof = Vec::new();
    let (mut from, mut to) = (0, size);
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            proof.push(range_root(source, middle, to)?);
            to = middle;
        } else {
            proof.push(range_root(source, from, middle)?);
            from = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `size` leaves continues the one of `old` leaves.
///
/// # Errors
/// When `old` is 0 or larger than `size`, or hashes are missing.
pub fn consistency_proof<S: HashSource>(
    source: &S,
    old: u64,
    size: u64,
) -> Result<Vec<TreeHash>, ProofError<S::Error>> {
    if old == 0 || old > size {
        return Err(ProofError::OutOfRange { index: old, size });
    }
    let mut proof = Vec::new();
    let (mut from, mut to) = (0, size);
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            proof.push(range_root(source, middle, to)?);
            to = middle;
        } else {
            proof.push(range_root(source, from, middle)?);
            from = middle;
        }
    }
    if from != 0 {
        proof.push(range_root(source, from, to)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that `leaf` is at `index` in the tree of `size` leaves with this root.
#[must_use]
pub fn verify_inclusion(leaf: TreeHash, index: u64, size: u64, proof: &[TreeHash], root: &TreeHash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = TreeHash::node(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = TreeHash::node(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree of `size` leaves with root `new_root` continues the one of `old` leaves with
/// root `old_root`. Every tree continues the empty one, which needs no proof.
#[must_use]
pub fn verify_consistency(
    old: u64,
    old_root: &TreeHash,
    size: u64,
    new_root: &TreeHash,
    proof: &[TreeHash],
) -> bool {
    if old == size || old == 0 {
        let is_same = if old == 0 { *old_root == TreeHash::empty() } else { old_root == new_root };
        return is_same && proof.is_empty();
    }
    if old > size {
        return false;
    }
    // A complete old tree is its own first hash.
    let with_first: Vec<TreeHash> = if old.is_power_of_two() {
        std::iter::once(*old_root).chain(proof.iter().copied()).collect()
    } else {
        proof.to_vec()
    };
    let Some((first, rest)) = with_first.split_first() else { return false };
    let (mut node, mut last) = (old - 1, size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut seen_old, mut seen_new) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            seen_old = TreeHash::node(sibling, &seen_old);
            seen_new = TreeHash::node(sibling, &seen_new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            seen_new = TreeHash::node(&seen_new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && seen_old == *old_root && seen_new == *new_root
}

/// The largest power of two smaller than `n`, for `n` of 2 or more.
const fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// The root over the leaves `from..to`, where `from` is a multiple of the largest complete subtree inside.
fn range_root<S: HashSource>(source: &S, from: u64, to: u64) -> Result<TreeHash, ProofError<S::Error>> {
    let mut peaks = Vec::new();
    let mut at = from;
    while at < to {
        let level = u8::try_from((to - at).ilog2()).unwrap_or(u8::MAX);
        peaks.push(subtree_root(source, at, level)?);
        at += 1 << level;
    }
    peaks.into_iter().rev().reduce(|right, left| TreeHash::node(&left, &right)).ok_or(ProofError::Incomplete)
}

/// The root of the complete subtree of `2^level` leaves that begins at leaf `from`.
fn subtree_root<S: HashSource>(source: &S, from: u64, level: u8) -> Result<TreeHash, ProofError<S::Error>> {
    let stored = level / TILE_HEIGHT;
    let above = level % TILE_HEIGHT;
    let count = 1_u64 << above;
    let mut hashes = source.hashes(stored, from >> (stored * TILE_HEIGHT), count)?;
    if u64::try_from(hashes.len()).ok() != Some(count) {
        return Err(ProofError::Incomplete);
    }
    for _ in 0..above {
        hashes = hashes
            .chunks_exact(2)
            .filter_map(|pair| match pair {
                [left, right] => Some(TreeHash::node(left, right)),
                _ => None,
            })
            .collect();
    }
    hashes.first().copied().ok_or(ProofError::Incomplete)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::super::tree::Frontier;
    use super::*;

    /// Every hash a tree of `n` leaves has stored, and the root at each size.
    struct Held {
        levels: Vec<Vec<TreeHash>>,
        roots: Vec<TreeHash>,
    }

    impl Held {
        fn new(n: u64) -> Self {
            let mut held = Self { levels: vec![Vec::new(); 3], roots: vec![TreeHash::empty()] };
            let mut tree = Frontier::default();
            for leaf in (0..n).map(|n| TreeHash::leaf(&n.to_le_bytes())) {
                held.levels[0].push(leaf);
                for node in tree.push(leaf) {
                    held.levels[usize::from(node.level)].push(node.hash);
                }
                held.roots.push(tree.root());
            }
            held
        }
    }

    impl HashSource for Held {
        type Error = Infallible;
        fn hashes(&self, level: u8, first: u64, count: u64) -> Result<Vec<TreeHash>, Infallible> {
            let all = (0..).zip(&self.levels[usize::from(level)]);
            Ok(all.filter(|(n, _)| (first..first + count).contains(n)).map(|(_, hash)| *hash).collect())
        }
    }

    #[test]
    fn every_proof_of_every_small_tree_holds_and_no_other_index_or_size_does() {
        let held = Held::new(40);
        for size in 1..=40_u64 {
            let root = &held.roots[usize::try_from(size).unwrap()];
            for index in 0..size {
                let leaf = TreeHash::leaf(&index.to_le_bytes());
                let proof = inclusion_proof(&held, index, size).unwrap();
                for (other, at) in (0..=size).map(|other| (other, other == index)) {
                    assert_eq!(
                        verify_inclusion(leaf, other, size, &proof, root),
                        at,
                        "{index} {other} {size}"
                    );
                }
            }
            for old in 1..=size {
                let old_root = &held.roots[usize::try_from(old).unwrap()];
                let proof = consistency_proof(&held, old, size).unwrap();
                assert!(verify_consistency(old, old_root, size, root, &proof), "{old} {size}");
                let wrong = TreeHash::leaf(b"another");
                assert!(!verify_consistency(old, &wrong, size, root, &proof), "{old} {size}");
                assert!(!verify_consistency(old, old_root, size, &wrong, &proof), "{old} {size}");
            }
        }
    }

    /// Proofs across tile boundaries, where subtree roots come from stored levels.
    #[test]
    fn proofs_hold_where_tiles_meet() {
        let held = Held::new(70_000);
        for size in [255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000_u64] {
            let root = &held.roots[usize::try_from(size).unwrap()];
            for index in [0, 1, 254, 255, 256, 65_535, 65_536, size - 1].into_iter().filter(|i| *i < size) {
                let proof = inclusion_proof(&held, index, size).unwrap();
                assert!(verify_inclusion(TreeHash::leaf(&index.to_le_bytes()), index, size, &proof, root));
            }
            for old in [1, 2, 255, 256, 257, 65_535, 65_536].into_iter().filter(|old| *old <= size) {
                let proof = consistency_proof(&held, old, size).unwrap();
                let old_root = &held.roots[usize::try_from(old).unwrap()];
                assert!(verify_consistency(old, old_root, size, root, &proof), "{old} {size}");
            }
        }
        assert_eq!(inclusion_proof(&held, 5, 5).unwrap_err(), ProofError::OutOfRange { index: 5, size: 5 });
        assert_eq!(inclusion_proof(&held, 5, 90_000).unwrap_err(), ProofError::Incomplete);
    }

    proptest! {
        #[test]
        fn an_altered_proof_never_holds(
            size in 2_u64..400, seed in any::<u64>(), at in any::<prop::sample::Index>(), bit in 0_u8..8,
        ) {
            let held = Held::new(size);
            let index = seed % size;
            let root = &held.roots[usize::try_from(size).unwrap()];
            let leaf = TreeHash::leaf(&index.to_le_bytes());
            let good = inclusion_proof(&held, index, size).unwrap();
            let at = at.index(good.len());

            let mut flipped = good.clone();
            let mut bytes = *flipped[at].as_bytes();
            bytes[usize::from(bit)] ^= 1 << bit;
            flipped[at] = TreeHash::from_bytes(bytes);
            prop_assert!(!verify_inclusion(leaf, index, size, &flipped, root));

            let mut shorter = good.clone();
            shorter.remove(at);
            prop_assert!(!verify_inclusion(leaf, index, size, &shorter, root));

            let mut longer = good;
            longer.insert(at, leaf);
            prop_assert!(!verify_inclusion(leaf, index, size, &longer, root));
        }
    }
}
