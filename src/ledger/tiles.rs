//! The static files of a ledger (C2SP `tlog-tiles`): hash tiles, entry bundles, and the names of both.
//!
//! A copy of a ledger is `checkpoint`, `tile/L/N` and `tile/entries/N`; any web server can serve it and any monitor of
//! such logs can follow it. Here is only what the files are; `store/export.rs` writes them.

use super::tree::{TILE_HEIGHT, TreeHash};

/// Hashes or entries in a full tile.
pub const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;

/// One file: a tile of hashes, or a bundle of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    /// The tile level; none for a bundle of entries.
    pub level: Option<u8>,
    /// Its index at that level.
    pub index: u64,
    /// How many hashes or entries it has: 256, or fewer at the right edge.
    pub width: u64,
}

impl Tile {
    /// Where it lies, relative to the export's root. Partial tiles end with `.p/W`.
    #[must_use]
    pub fn path(&self) -> String {
        let level = self.level.map_or_else(|| "entries".to_owned(), |level| level.to_string());
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        groups.reverse();
        let partial = if self.width < TILE_WIDTH { format!(".p/{}", self.width) } else { String::new() };
        format!("tile/{level}/{}{partial}", groups.join("/"))
    }

    /// The first leaf or node it holds, at its level.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.index * TILE_WIDTH
    }
}

/// Every file that a tree of `size` leaves has and one of `old` leaves did not.
pub fn tiles_between(old: u64, size: u64) -> impl Iterator<Item = Tile> {
    let levels = std::iter::once(None).chain((0..=7).map(Some));
    levels.flat_map(move |level| {
        let shift = u32::from(level.unwrap_or(0)) * u32::from(TILE_HEIGHT);
        let (had, has) = (old >> shift, size >> shift);
        let last = has.div_ceil(TILE_WIDTH);
        let from = if had == has { last } else { had / TILE_WIDTH };
        (from..last).map(move |index| Tile { level, index, width: TILE_WIDTH.min(has - index * TILE_WIDTH) })
    })
}

/// The bytes of a hash tile.
#[must_use]
pub fn hash_tile(hashes: &[TreeHash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// The bytes of an entry bundle: each entry after its length in two bytes, big-endian. None when one is too long.
#[must_use]
pub fn entry_bundle(entries: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend_from_slice(&u16::try_from(entry.len()).ok()?.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let path = |level, index, width| Tile { level, index, width }.path();
        assert_eq!(path(Some(0), 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(path(Some(1), 0, 5), "tile/1/000.p/5");
        assert_eq!(path(None, 273, 112), "tile/entries/273.p/112");
        assert_eq!(path(None, 1000, 256), "tile/entries/x001/000");
    }

    /// The specification's own example: a tree of 70,000 leaves.
    #[test]
    fn a_tree_of_70_000_has_the_tiles_of_the_specification() {
        let hashes: Vec<Tile> = tiles_between(0, 70_000).filter(|tile| tile.level.is_some()).collect();
        let at = |level| hashes.iter().filter(move |tile| tile.level == Some(level));
        assert_eq!((at(0).count(), at(0).next_back().unwrap().width), (274, 112));
        assert_eq!((at(1).count(), at(1).next_back().unwrap().width), (2, 17));
        assert_eq!((at(2).count(), at(2).next_back().unwrap().width), (1, 1));
        assert_eq!(at(3).count(), 0);
    }

    #[test]
    fn growing_writes_only_what_changed() {
        let paths: Vec<String> = tiles_between(255, 257).map(|tile| tile.path()).collect();
        let expected =
            ["tile/entries/000", "tile/entries/001.p/1", "tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1"];
        assert_eq!(paths, expected);
        assert_eq!(tiles_between(300, 300).count(), 0);
    }

    #[test]
    fn a_bundle_states_each_length() {
        assert_eq!(entry_bundle(&[b"ab".to_vec(), Vec::new()]).unwrap(), b"\x00\x02ab\x00\x00");
        assert!(entry_bundle(&[vec![0; 65_536]]).is_none());
    }
}
