//! One line of a terminal as cells, with the cursor in it: what line editing and the terminal's edge make of it.
//!
//! `bash` writes `$ mysql --password ` to the edge of an 80-column terminal, a blank that moves to the next row, and a
//! return to that row's beginning: still one line, and here one row of cells after the other. Moves stay in their row as
//! a terminal's do, and go up and down between the rows of the line. [`super::lines`] keeps characters in the cells, and
//! the masks keep places. [`Widths`] knows how wide each channel's terminal is.

use std::collections::BTreeMap;

use super::screen::bounded;
use crate::recording::event::{Body, Event};

/// Channels whose terminals are followed.
const MOST_CHANNELS: usize = 4096;

/// What stands in a cell; by default nothing.
pub(super) trait Cell: Clone + Default {
    /// Whether nothing is seen there.
    fn is_blank(&self) -> bool;
}

/// A line's cells.
#[derive(Debug, Clone)]
pub(super) struct Cells<T> {
    cells: Vec<T>,
    /// The cell that is written next, over all rows.
    next: usize,
    /// Whether the row is full and the cursor still on its last cell.
    is_full: bool,
    /// Cells of a row; a line without a terminal has one row.
    width: usize,
    /// Cells that there may be.
    most: usize,
}

impl<T: Cell> Cells<T> {
    /// An empty line of at most so many cells.
    pub(super) const fn new(most: usize) -> Self {
        Self { cells: Vec::new(), next: 0, is_full: false, width: usize::MAX, most }
    }

    /// Says how wide the terminal is; without one, a line has no edge.
    pub(super) fn set_width(&mut self, columns: Option<u32>) {
        let width = columns.and_then(|columns| usize::try_from(bounded(columns)).ok()).unwrap_or(usize::MAX);
        self.is_full &= self.width == width;
        self.width = width;
    }

    /// Whether characters take as many cells as on a screen.
    pub(super) const fn has_edge(&self) -> bool {
        self.width < usize::MAX
    }

    pub(super) fn as_slice(&self) -> &[T] {
        &self.cells
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.next == 0
    }

    pub(super) fn clear(&mut self) {
        self.cells.clear();
        self.put_cursor(0);
    }

    /// Whether there is no room for another cell.
    pub(super) const fn is_at_limit(&self) -> bool {
        self.next >= self.most
    }

    /// Drops whole rows at the beginning, of all but the last `kept` cells, and goes on at the end.
    pub(super) fn drop_all_but(&mut self, kept: usize) {
        let gone = self.cells.len().saturating_sub(kept);
        let rest = if self.has_edge() { gone % self.width } else { 0 };
        self.cells.drain(..gone.saturating_sub(rest));
        self.next = self.cells.len();
    }

    /// Writes a cell where the cursor is.
    pub(super) fn put(&mut self, cell: T) {
        if self.is_at_limit() {
            return;
        }
        if let Some(place) = self.cells.get_mut(self.next) {
            *place = cell;
        } else {
            self.cells.resize(self.next, T::default());
            self.cells.push(cell);
        }
        self.next = self.next.saturating_add(1);
        self.is_full = self.has_edge() && self.next.is_multiple_of(self.width);
    }

    /// How many cells are left in the row.
    pub(super) const fn room(&self) -> usize {
        self.width.saturating_sub(self.next % self.width)
    }

    /// The cell before the one that is written next.
    pub(super) fn last(&self) -> Option<&T> {
        self.next.checked_sub(1).and_then(|at| self.cells.get(at))
    }

    /// To the beginning of the row.
    pub(super) const fn home(&mut self) {
        self.put_cursor(self.start());
    }

    pub(super) fn back(&mut self, by: usize) {
        self.put_cursor(self.at().saturating_sub(by).max(self.start()));
    }

    pub(super) fn forward(&mut self, by: usize) {
        self.put_cursor(self.at().saturating_add(by).min(self.most).min(self.end().saturating_sub(1)));
    }

    /// To a column of the row, from 0.
    pub(super) fn go_to(&mut self, column: usize) {
        let last = self.end().saturating_sub(1);
        self.put_cursor(self.start().saturating_add(column).min(self.most).min(last));
    }

    /// How many cells there are to the next tab stop.
    pub(super) const fn to_next_tab(&self) -> usize {
        let column = self.next.saturating_sub(self.start());
        8_usize.saturating_sub(column % 8)
    }

    /// Up by so many rows; `false` when the line does not reach so far.
    pub(super) fn up(&mut self, rows: usize) -> bool {
        let to = self.width.checked_mul(rows).and_then(|by| self.at().checked_sub(by));
        to.into_iter().for_each(|to| self.put_cursor(to));
        to.is_some()
    }

    /// Down by so many rows; `false` when the line has nothing there.
    pub(super) fn down(&mut self, rows: usize) -> bool {
        let by = self.width.saturating_mul(rows);
        let rows = self.cells.get(self.start().saturating_add(by)..).unwrap_or_default();
        let reaches = !rows.iter().all(T::is_blank);
        if reaches {
            self.put_cursor(self.at().saturating_add(by));
        }
        reaches
    }

    /// Whether anything stands from the cursor on.
    pub(super) fn has_more(&self) -> bool {
        self.at() < self.cells.len()
    }

    /// Erases to the end of the row.
    pub(super) fn erase_row_after(&mut self) {
        self.blank(self.at(), self.end());
    }

    /// Erases the row up to and with the cursor's cell.
    pub(super) fn erase_row_before(&mut self) {
        let behind = self.at().saturating_add(1).min(self.cells.len());
        let start = self.start();
        self.cells.get_mut(start..behind).unwrap_or_default().fill(T::default());
    }

    pub(super) fn erase_row(&mut self) {
        self.blank(self.start(), self.end());
    }

    /// Erases all that follows, in all rows.
    pub(super) fn erase_after(&mut self) {
        self.cells.truncate(self.at());
    }

    /// Takes cells out of the row; what follows them there moves up.
    pub(super) fn delete(&mut self, count: usize) {
        let from = self.at().min(self.cells.len());
        let row_end = self.end().min(self.cells.len());
        let to = from.saturating_add(count).min(row_end);
        let is_last = row_end == self.cells.len();
        if !is_last {
            self.cells.splice(row_end..row_end, vec![T::default(); to.saturating_sub(from)]);
        }
        self.cells.drain(from..to);
    }

    /// Puts blank cells into the row; what they push over its edge is lost.
    pub(super) fn insert(&mut self, count: usize) {
        let at = self.at().min(self.cells.len());
        let room =
            self.end().min(self.most).saturating_sub(at).min(self.most.saturating_sub(self.cells.len()));
        let row_end = self.end().min(self.cells.len());
        let count = count.min(room);
        let lost = row_end.saturating_add(count).saturating_sub(self.end()).min(row_end.saturating_sub(at));
        self.cells.drain(row_end.saturating_sub(lost)..row_end);
        self.cells.splice(at..at, std::iter::repeat_n(T::default(), count));
    }

    fn blank(&mut self, from: usize, to: usize) {
        if to < self.cells.len() {
            self.cells.get_mut(from..to).unwrap_or_default().fill(T::default());
        } else {
            self.cells.truncate(from);
        }
    }

    /// The cell the cursor is on.
    const fn at(&self) -> usize {
        if self.is_full { self.next.saturating_sub(1) } else { self.next }
    }

    /// Where its row begins.
    const fn start(&self) -> usize {
        let at = self.at();
        at.saturating_sub(at % self.width)
    }

    /// Where its row ends.
    const fn end(&self) -> usize {
        self.start().saturating_add(self.width)
    }

    const fn put_cursor(&mut self, to: usize) {
        self.next = to;
        self.is_full = false;
    }
}

/// How wide the terminals of a recording's channels are.
#[derive(Debug, Clone, Default)]
pub(super) struct Widths(BTreeMap<u32, u32>);

impl Widths {
    /// Takes the next event; only a channel with a terminal has a width.
    pub(super) fn observe(&mut self, event: &Event) {
        if let Body::Terminal { columns, .. } = event.body {
            if self.0.len() < MOST_CHANNELS || self.0.contains_key(&event.channel) {
                self.0.insert(event.channel, columns);
            }
        } else if let Body::Resize { columns, .. } = event.body {
            self.0.get_mut(&event.channel).into_iter().for_each(|width| *width = columns);
        } else if matches!(event.body, Body::ChannelClosed) {
            self.0.remove(&event.channel);
        }
    }

    pub(super) fn of(&self, channel: u32) -> Option<u32> {
        self.0.get(&channel).copied()
    }
}
