//! Rings that meet what can be in their way.

use std::time::{Duration, Instant};

use super::*;

const SOON: Duration = Duration::from_secs(10);

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("store.db");
    (directory, file)
}

async fn rung(ear: &mut Ear) {
    tokio::time::timeout(SOON, ear.rung()).await.expect("in time").expect("listening");
}

fn is_silent(ear: &Ear) -> bool {
    !ear.rung.has_changed().expect("listening")
}

fn sockets(bells: &Bells) -> usize {
    fs::read_dir(&bells.others.directory).map_or(0, |entries| entries.count())
}

fn until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < SOON, "it did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn a_ring_that_fails_reaches_this_process_at_once_and_the_others_later() {
    let (_directory, file) = place();
    let (here, there) = (Bells::new(&file), Bells::new(&file));
    let mut ears = [
        (here.listen(Channel::PubSub).expect("listens"), there.listen(Channel::PubSub).expect("listens")),
        (
            here.listen(Channel::Configuration).expect("listens"),
            there.listen(Channel::Configuration).expect("listens"),
        ),
    ];
    let wake = &here.others.directory;
    let aside = wake.with_extension("aside");
    fs::rename(wake, &aside).expect("moved");
    fs::write(wake, "in the way").expect("written");
    here.ring(Channel::PubSub);
    here.ring(Channel::Configuration);
    for (own, other) in &mut ears {
        rung(own).await;
        assert!(is_silent(other), "it cannot be reached");
    }
    fs::remove_file(wake).expect("removed");
    fs::rename(&aside, wake).expect("moved back");
    for (_, other) in &mut ears {
        rung(other).await;
    }
    // Whoever made up for it has ended, and can begin anew.
    until(|| here.again.is_idle());
}

#[test]
fn what_is_owed_is_given_up_with_the_store() {
    let (_directory, file) = place();
    let bells = Bells::new(&file);
    fs::write(&bells.others.directory, "in the way").expect("written");
    bells.ring(Channel::PubSub);
    assert!(!bells.again.is_idle());
    let begun = Instant::now();
    drop(bells);
    assert!(begun.elapsed() < SOON);
}

#[tokio::test]
async fn a_directory_that_was_cleared_away_is_made_again() {
    let (_directory, file) = place();
    let (here, there) = (Bells::new(&file), Bells::new(&file));
    let mut first = here.listen(Channel::PubSub).expect("listens");
    fs::remove_dir_all(&here.others.directory).expect("removed");
    here.ring(Channel::PubSub);
    rung(&mut first).await;
    there.ring(Channel::PubSub);
    assert!(is_silent(&first), "nobody can be found");
    let mut second = here.listen(Channel::PubSub).expect("listens");
    rung(&mut first).await;
    there.ring(Channel::PubSub);
    rung(&mut first).await;
    rung(&mut second).await;
    drop((first, second));
    assert_eq!(sockets(&here), 0, "nobody listens, nothing is left");
}

#[tokio::test]
async fn a_listener_sees_for_itself_that_its_place_is_gone() {
    let (_directory, file) = place();
    let bells = Bells::new(&file);
    let directory = &bells.others.directory;
    let listener = Listener::looking(directory, Channel::PubSub, Duration::from_millis(20));
    let listener = listener.expect("listens");
    let mut ear = Ear { rung: listener.subscribe(), _listener: Arc::new(listener) };
    fs::remove_dir_all(directory).expect("removed");
    rung(&mut ear).await;
    assert_eq!(sockets(&bells), 1);
    bells.ring(Channel::PubSub);
    rung(&mut ear).await;
}

#[test]
fn a_signal_is_no_failure() {
    let mut answers = vec![Ok(7), Err(ErrorKind::Interrupted.into()), Err(ErrorKind::Interrupted.into())];
    assert_eq!(uninterrupted(|| answers.pop().expect("asked no further")).expect("done"), 7);
    let failure = uninterrupted(|| Err::<(), _>(io::Error::from(ErrorKind::NotFound)));
    assert_eq!(failure.expect_err("told").kind(), ErrorKind::NotFound);
}
