//! One file's way into a directory: whole, in parts, with a crash in between, and when the name is taken.
//!
//! A store over the network is tried in the suite, with the real program.

use super::super::place::Removal;
use super::*;
use crate::config::RecordingStore;
use crate::model::Clock;

struct World {
    place: Place,
    here: tempfile::TempDir,
    there: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let url = format!("file://{}", there.path().display());
        let config = RecordingStore { url, ..RecordingStore::default() };
        Self { place: Place::open(&config, test_client(), Clock::system()).unwrap(), here, there }
    }

    fn job(&self) -> Job<'_> {
        let file = self.here.path().join("ses.pstn");
        Job { place: &self.place, name: "ses.pstn", file, note: self.here.path().join("sending/ses.json") }
    }

    fn write(&self, bytes: &[u8]) {
        std::fs::write(self.here.path().join("ses.pstn"), bytes).unwrap();
    }

    fn arrived(&self) -> Vec<u8> {
        assert_eq!(
            std::fs::read_dir(self.there.path()).unwrap().count(),
            1,
            "one object and nothing beside it"
        );
        assert!(!self.job().note.exists(), "what is done is forgotten");
        std::fs::read(self.there.path().join("ses.pstn")).unwrap()
    }
}

/// Bytes that differ from place to place.
fn bytes(length: u64) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
}

#[tokio::test]
async fn short_and_long_files_arrive_as_they_are() {
    for length in [0, 1, PART - 1, PART, PART + 1, 2 * PART] {
        let world = World::new();
        let content = bytes(length);
        world.write(&content);
        let sent = world.job().finish().await.unwrap();
        assert_eq!((sent.bytes, sent.sha256), (length, hex(&content)));
        assert!(world.arrived() == content, "{length}");
        // Again is nothing new.
        assert_eq!(world.job().finish().await.unwrap().bytes, length);
    }
}

#[tokio::test]
async fn a_long_one_is_sent_while_it_is_written_and_an_end_that_changed_is_sent_anew() {
    let world = World::new();
    let content = bytes(3 * PART + 100);
    world.write(&content[..usize::try_from(PART).unwrap()]);
    assert!(!world.job().ahead().await.unwrap());
    assert!(!world.job().note.exists(), "it is short so far");
    world.write(&content);
    assert!(world.job().ahead().await.unwrap() && !world.job().ahead().await.unwrap(), "sent once");
    let note = Note::load(&world.job().note).unwrap().unwrap();
    assert_eq!(note.parts.len(), 2, "what may still change stays behind");
    // A crash took bytes off the end and others followed.
    let mut other = content[..usize::try_from(PART + 5).unwrap()].to_vec();
    other.extend(bytes(40).iter().rev());
    world.write(&other);
    world.job().finish().await.unwrap();
    assert!(world.arrived() == other);
}

#[tokio::test]
async fn an_upload_goes_on_where_it_was_and_begins_anew_when_the_store_lost_it() {
    let world = World::new();
    let content = bytes(3 * PART + 100);
    world.write(&content);
    world.job().ahead().await.unwrap();
    let before = Note::load(&world.job().note).unwrap().unwrap();
    world.job().ahead().await.unwrap();
    assert_eq!(Note::load(&world.job().note).unwrap().unwrap(), before, "nothing is sent twice");
    std::fs::remove_file(world.there.path().join(".ses.pstn.part")).unwrap();
    world.job().finish().await.unwrap();
    assert!(world.arrived() == content);
}

#[tokio::test]
async fn a_name_that_is_taken_is_never_overwritten() {
    for length in [10, PART + 1] {
        let world = World::new();
        world.write(&bytes(length));
        std::fs::write(world.there.path().join("ses.pstn"), b"another").unwrap();
        let error = world.job().finish().await.unwrap_err();
        assert!(matches!(&error, Fault::Refused(why) if why.contains("nothing was overwritten")), "{error}");
        assert_eq!(std::fs::read(world.there.path().join("ses.pstn")).unwrap(), b"another");
    }
}

#[tokio::test]
async fn what_was_completed_just_before_a_crash_is_found_done() {
    let world = World::new();
    let content = bytes(2 * PART + MARGIN);
    world.write(&content);
    world.job().ahead().await.unwrap();
    let note = std::fs::read(world.job().note).unwrap();
    world.job().finish().await.unwrap();
    std::fs::write(world.job().note, note).unwrap();
    world.job().finish().await.unwrap();
    assert!(world.arrived() == content);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_never_made_and_what_is_in_it_is_not_called_gone() {
    for length in [10, PART + 1] {
        let world = World::new();
        world.write(&bytes(length));
        std::fs::remove_dir(world.there.path()).unwrap();
        let error = world.job().finish().await.unwrap_err();
        assert!(matches!(&error, Fault::Barred(why) if why.contains("does not exist")), "{error}");
        assert!(!world.there.path().exists());
        assert!(matches!(world.place.size("ses.pstn").await, Err(Fault::Transient(_))), "it may come back");
        assert!(
            matches!(world.place.remove("ses.pstn").await, Err(Fault::Transient(_))),
            "nor is it removed"
        );
    }
}

#[tokio::test]
async fn what_is_removed_is_gone_and_so_is_what_was_sent_of_it() {
    let world = World::new();
    world.write(b"recorded");
    world.job().finish().await.unwrap();
    for _ in 0..2 {
        assert_eq!(world.place.remove("ses.pstn").await, Ok(Removal::Gone), "also when it was gone");
    }
    world.write(&bytes(3 * PART + MARGIN));
    assert!(world.job().ahead().await.unwrap());
    assert_eq!(std::fs::read_dir(world.there.path()).unwrap().count(), 1);
    for _ in 0..2 {
        world.job().throw_away().await.unwrap();
        assert_eq!(std::fs::read_dir(world.there.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_file_is_never_taken_for_a_copy_of_itself() {
    let world = World::new();
    world.write(b"recorded");
    let (here, link) = (world.here.path(), world.there.path().join("link"));
    std::os::unix::fs::symlink(here, &link).unwrap();
    std::fs::create_dir(here.join("sub")).unwrap();
    let place = |path: &Path| {
        let config =
            RecordingStore { url: format!("file://{}", path.display()), ..RecordingStore::default() };
        Place::open(&config, test_client(), Clock::system()).unwrap()
    };
    for within in [here, &here.join("sub"), &link, &link.join("sub")] {
        assert!(place(within).is_within(&[here]), "{}", within.display());
    }
    for apart in [world.there.path(), here.parent().unwrap(), &here.join("none")] {
        assert!(!place(apart).is_within(&[here]), "{}", apart.display());
    }
    let place = place(&link);
    let error = Job { place: &place, ..world.job() }.finish().await.unwrap_err();
    assert!(matches!(&error, Fault::Barred(why) if why.contains("where recordings are made")), "{error}");
    assert_eq!(std::fs::read(world.job().file).unwrap(), b"recorded");
}
